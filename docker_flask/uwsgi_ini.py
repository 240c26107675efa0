"""uWSGI's ini files, as applications bring them from other images: read here, never by uWSGI.

Standard library only, because the application's own Python reads them, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

SECTION = "[uwsgi]"
# %(an option above), $(a variable of the environment), and %d: a letter for a part of the path, or
# for the number of CPUs.
_PLACEHOLDER = re.compile(
    r"%\((?P<option>[^)]+)\)|\$\((?P<variable>[^)]+)\)|%(?P<letter>[cdknpsv%])"
)


def find(root: Path, named: str) -> Path | None:
    """The file that UWSGI_INI names, else uwsgi.ini beside the application or in /app; or None.

    named: the value of UWSGI_INI, empty if not set.
    """
    # If UWSGI_INI is set, docker_flask/configuration/settings.py has checked that the file exists.
    files = [root / named] if named.strip() else [root / "uwsgi.ini", Path("/app/uwsgi.ini")]
    return next((file for file in files if file.is_file()), None)


def read(
    path: Path, environ: Mapping[str, str] = os.environ, percent: str = "%"
) -> list[tuple[str, str]]:
    """The options of the [uwsgi] section, in their order and with their placeholders filled in.

    As uWSGI reads it: a name may come again, an option may have no value, and only whole lines are
    comments. Raises OSError.

    percent: what a percent sign becomes that is none of a placeholder.
    """
    letters = {**_letters(path), "%": percent}
    options: list[tuple[str, str]] = []
    known: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        if match["option"]:
            return known.get(match["option"], match[0])
        if match["variable"]:
            return environ.get(match["variable"], "").replace("%", percent)
        return letters[match["letter"]]

    for name, text in _pairs(path.read_text(encoding="utf-8", errors="replace")):
        value = _PLACEHOLDER.sub(fill, text)
        options.append((name, value))
        known.setdefault(name, value)
    return options


def variables(path: Path) -> set[str]:
    """Names that values refer to as %(name); raises OSError."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return {match["option"] for match in _PLACEHOLDER.finditer(text) if match["option"]}


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs, section = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif line and line[0] not in ";#" and section == SECTION:
            name, _, value = line.partition("=")
            pairs.append((name.strip(), value.strip()))
    return pairs


def _letters(path: Path) -> dict[str, str]:
    path = path.absolute()
    return {
        "c": path.parent.name,
        "d": f"{path.parent}/",
        "k": str(len(os.sched_getaffinity(0))),
        "n": path.stem,
        "p": str(path),
        "s": path.name,
        "v": os.getcwd(),
    }
