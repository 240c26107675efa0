"""Lines of docker-flask in the container's log."""

import contextlib
import sys
from pathlib import Path

from docker_flask.shared.paths import HOME, VENV


def log(message: str) -> None:
    """Write a message to stderr; a log without a reader must not stop the service."""
    with contextlib.suppress(OSError, ValueError):
        print(f"docker-flask: {message}", file=sys.stderr, flush=True)


def version() -> str:
    """The version of the image."""
    return Path(HOME, "VERSION").read_text().strip()


def first_line(what: str) -> str:
    """What runs here: the image, its base and its Python; what: the server, or the mode."""
    import platform  # slow to import, and the port is not bound yet

    revision = Path(HOME, "REVISION").read_text().strip()
    base = platform.freedesktop_os_release()["PRETTY_NAME"]
    python = platform.python_version()
    with contextlib.suppress(OSError, IndexError):  # the application's Python may be another one
        python = Path(VENV, "pyvenv.cfg").read_text().partition("\nversion = ")[2].split()[0]
    return f"version {version()} ({revision[:12]}) on {base}, Python {python}, {what}"
