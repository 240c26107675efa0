"""What a worker reports about the application that it has loaded."""

from dataclasses import dataclass
from typing import Any

from docker_flask.shared.static_files import StaticFiles


@dataclass(frozen=True)
class Report:
    """The application may have written it, so nothing in it is trusted.

    application: its name, and why this one. found: a line about it for the log. static: the files
    that nginx serves. static_files: a line about them. notes: what is unusual. memory: bytes of the
    worker. secret_key: a digest of the key for sessions.
    """

    application: str = ""
    found: str = ""
    static: StaticFiles | None = None
    static_files: str = ""
    notes: tuple[str, ...] = ()
    memory: int = 0
    secret_key: str = ""

    @classmethod
    def read(cls, message: dict[str, Any]) -> "Report":
        """Raises KeyError, TypeError, ValueError if a part is missing or wrong."""
        return cls(
            application=message["text"],
            found=str(message["found"]),
            static=StaticFiles(**message["static"]) if message["static"] else None,
            static_files=str(message["static_files"]),
            notes=tuple(map(str, message["notes"])),
            memory=int(message["memory"]),
            secret_key=str(message["secret_key"]),
        )
