"""Reads uWSGI's ini files, which applications bring from other images; uWSGI never reads them."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

# %(option above), $(environment variable), and a letter such as %d for a part of the path, or for
# the number of CPUs.
_PLACEHOLDER = re.compile(
    r"%\((?P<option>[^)]+)\)|\$\((?P<variable>[^)]+)\)|%(?P<letter>[cdknpsv%])"
)


def text(path: Path) -> str:
    """The text of a file; raises OSError."""
    if not path.is_file():  # a pipe or a device may have no end
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    return path.read_text("utf-8", "replace")


def find(root: Path, named: str) -> Path | None:
    """The file that UWSGI_INI names, else uwsgi.ini beside the application or in /app; or None.

    named: the value of UWSGI_INI, empty if not set.
    """
    # If UWSGI_INI is set, docker_flask/plan/settings.py has checked that the file exists.
    files = [root / named] if named.strip() else [root / "uwsgi.ini", Path("/app/uwsgi.ini")]
    return next((file for file in files if file.is_file()), None)


def read(
    path: Path, environ: Mapping[str, str] = os.environ, percent: str = "%"
) -> list[tuple[str, str]]:
    """The options of the [uwsgi] section, in their order, with placeholders replaced.

    The rules are those of uWSGI: a name may occur again, an option may have no value, and comments
    are whole lines. Raises OSError.

    percent: replaces a percent sign that belongs to no placeholder.
    """
    path = path.absolute()
    letters = {
        "c": path.parent.name,
        "d": f"{path.parent}/",
        "k": str(len(os.sched_getaffinity(0))),
        "n": path.stem,
        "p": str(path),
        "s": path.name,
        "v": os.getcwd(),
        "%": percent,
    }
    options: list[tuple[str, str]] = []
    known: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        if match["option"]:
            return known.get(match["option"], match[0])
        if match["variable"]:
            return environ.get(match["variable"], "").replace("%", percent)
        return letters[match["letter"]]

    for name, given in _pairs(text(path)):
        value = _PLACEHOLDER.sub(fill, given)
        options.append((name, value))
        known.setdefault(name, value)
    return options


def variables(path: Path) -> set[str]:
    """Names that occur in values as %(name). Raises OSError."""
    return {match["option"] for match in _PLACEHOLDER.finditer(text(path)) if match["option"]}


def _pairs(lines: str) -> list[tuple[str, str]]:
    pairs, section = [], ""
    for line in map(str.strip, lines.splitlines()):
        if line.startswith("["):
            section = line
        elif line and line[0] not in ";#" and section == "[uwsgi]":
            name, _, value = line.partition("=")
            pairs.append((name.strip(), value.strip()))
    return pairs
