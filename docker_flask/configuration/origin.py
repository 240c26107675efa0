"""The origin of the value of a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple


class Source(Enum):
    """The kind of an origin."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    FILE = "file"
    LIMITS = "limits"


@dataclass(frozen=True)
class Origin:
    """The origin of the value of a setting.

    name: the variable, or the option in the file; reason: the limit of the container
    that decided a computed value.
    """

    source: Source
    name: str = ""
    file: str = ""
    reason: str = ""

    @property
    def brief(self) -> str:
        """The origin without "decided from"."""
        return self.reason or str(self)

    def __str__(self) -> str:
        match self.source:
            case Source.LIMITS:
                return f"decided from the {self.reason}"
            case Source.DEFAULT:
                return "default"
            case _:
                return f"{self.name} in {self.file}" if self.file else self.name


DEFAULT = Origin(Source.DEFAULT)


def from_limits(reason: str) -> Origin:
    """The origin of a value that a limit of the container decided."""
    return Origin(Source.LIMITS, reason=reason)


@dataclass(frozen=True)
class FileValue:
    """The value of a setting in one of the user's files.

    name: of the option; text: the value; file: empty for a server's own default.
    """

    name: str
    text: str
    file: str

    @property
    def origin(self) -> Origin:
        return Origin(Source.FILE, self.name, self.file)


class ServerOptions(NamedTuple):
    """The user's options for an application server.

    settings: options that decide a setting, by the name of its field; text: the other options, as
    the server's file, empty if there are none; ignored: options that the image overrides.
    """

    settings: Mapping[str, FileValue] = {}
    text: str = ""
    ignored: Sequence[str] = ()


class Found(NamedTuple):
    """The value of a setting, and its origin."""

    value: Any
    origin: Origin

    @property
    def is_computed(self) -> bool:
        """True if neither the user nor a file of the user set the value."""
        return self.origin.source is Source.LIMITS
