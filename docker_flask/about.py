"""What runs here: the version of the image, its base and its Python."""

from __future__ import annotations

import platform
from pathlib import Path

from docker_flask.paths import HOME


def line(what: str) -> str:
    """The first line of a start; what: the server, or the mode."""
    version, revision = (Path(HOME, name).read_text().strip() for name in ("VERSION", "REVISION"))
    base = platform.freedesktop_os_release()["PRETTY_NAME"]
    python = platform.python_version()
    return f"version {version} ({revision[:12]}) on {base}, Python {python}, {what}"
