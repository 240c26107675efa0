"""Sets the variables of .flaskenv and .env as `flask run` does, with python-dotenv if installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# For a variable in both files, the second file counts.
NAMES = (".flaskenv", ".env")


class Loaded(NamedTuple):
    """The file of each variable that has the file's value, and the files that were ignored."""

    variables: dict[str, Path]
    ignored: list[Path]


def load(root: Path) -> Loaded:
    """Set variables that the environment lacks; the files are in `root`, or in a folder above it.

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
    # Also variables that were set before: the `flask` command has set them from the same files.
    variables = {name: file for name, (value, file) in values.items() if os.environ[name] == value}
    return Loaded(variables, [])


def _skipped() -> bool:
    """True if Flask's own variable disables the files."""
    return os.environ.get("FLASK_SKIP_DOTENV", "").lower() not in ("", "0", "false", "no")


def _nearest(root: Path, name: str) -> Path | None:
    folders = (root, *root.parents)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
