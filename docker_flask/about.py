"""What runs here: the version of the image, its base and its Python."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

from docker_flask.paths import HOME

OS_RELEASE = Path("/etc/os-release")


def line(what: str, home: Path = Path(HOME), os_release: Path = OS_RELEASE) -> str:
    """The first line of a start; what: the server, or the mode."""
    version, revision = _text(home / "VERSION"), _text(home / "REVISION")
    revision = re.sub("^([0-9a-f]{12})[0-9a-f]+", r"\1", revision)
    commit = f" ({revision})" if revision not in ("", "unknown") else ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text(os_release), re.MULTILINE)
    base = name[1] if name else "an unknown base"
    return f"version {version}{commit} on {base}, Python {sys.version.split()[0]}, {what}"


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text().strip()
    return ""
