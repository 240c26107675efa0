"""Variables from .flaskenv and .env, set as `flask run` sets them.

Runs in the application's Python; its python-dotenv is used where it is installed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# What stands in both is taken from the latter.
NAMES = (".flaskenv", ".env")


class Loaded(NamedTuple):
    """The file of each variable that is as a file says, and the files that can't be read here."""

    variables: dict[str, Path]
    unread: list[Path]


def load(root: Path) -> Loaded:
    """Set what the files in `root`, or the next folder above it, say and the environment does not.

    Raises OSError for a file that this user may not read.
    """
    files = [] if _skipped() else [file for name in NAMES if (file := _nearest(root, name))]
    if not files:
        return Loaded({}, [])
    try:
        import dotenv
    except ImportError:
        return Loaded({}, files)
    values: dict[str, tuple[str, Path]] = {}
    for file in files:
        pairs = dotenv.dotenv_values(file, encoding="utf-8").items()
        values |= {name: (value, file) for name, value in pairs if value is not None}
    for name, (value, _) in values.items():
        os.environ.setdefault(name, value)
    # Not only those that were set just now: the `flask` command sets them before.
    variables = {name: file for name, (value, file) in values.items() if os.environ[name] == value}
    return Loaded(variables, [])


def _skipped() -> bool:
    """Flask's own switch."""
    return os.environ.get("FLASK_SKIP_DOTENV", "").lower() not in ("", "0", "false", "no")


def _nearest(root: Path, name: str) -> Path | None:
    folders = (root, *root.parents)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
