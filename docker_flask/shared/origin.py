"""The values of settings, and where each comes from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DEFAULT = "default"


class Found(NamedTuple):
    """The value of a setting, and its origin in words: a variable, or an option and its file."""

    value: Any
    origin: str


class FileValue(NamedTuple):
    """The value of a setting in the user's options for a server.

    name: of the option; text: the value; file: empty for a variable.
    """

    name: str
    text: str
    file: str


class ServerOptions(NamedTuple):
    """The user's options for an application server.

    settings: options that decide a setting, by the name of its field; text: the other options, as
    the server's file, empty if there are none; ignored: options that the image overrides;
    only_one_server: why a second server at the same time would do harm, empty if it would not.
    """

    settings: Mapping[str, FileValue] = {}
    text: str = ""
    ignored: Sequence[str] = ()
    only_one_server: str = ""
