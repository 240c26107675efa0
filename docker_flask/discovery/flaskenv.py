"""Sets the variables of .flaskenv and .env as `flask run` does, with python-dotenv if installed."""

from __future__ import annotations

import os
from pathlib import Path

from docker_flask.log import log


def load(root: Path) -> None:
    """Set variables that the environment lacks; the files are in `root`, or in a folder above it.

    Raises OSError for a file that this user may not read.
    """
    is_skipped = os.environ.get("FLASK_SKIP_DOTENV", "").lower() not in ("", "0", "false", "no")
    files = [file for name in (".flaskenv", ".env") if (file := _nearest(root, name))]
    if is_skipped or not files:
        return
    try:
        import dotenv
    except ImportError:
        log(f"{files[0]} ignored: python-dotenv is not installed")
        return
    values: dict[str, str | None] = {}  # for a variable in both files, the second file counts
    for file in files:
        values |= dotenv.dotenv_values(file, encoding="utf-8")
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)


def _nearest(root: Path, name: str) -> Path | None:
    return next((file for top in (root, *root.parents) if (file := top / name).is_file()), None)
