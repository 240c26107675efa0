"""Flask's instance folder, if the application can't write beside its code.

Flask expects the folder beside the application, and many applications keep their database there.
In the image, code is root's. So the folder is in the volume, unless the application chooses one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from docker_flask.discovery.permission_hints import VOLUME, can_write, whoami
from docker_flask.log import log

FOLDER = Path(VOLUME, "instance")
# Files that an application reads there: they stay those of the image, by links.
_CONFIGURATION = {".py", ".cfg", ".ini", ".json", ".toml", ".yaml", ".yml"}
# The folders that Flask would have chosen.
_replaced: set[str] = set()


def report() -> list[str]:
    """A line for the log, if an application uses the folder in the volume."""
    if not _replaced or not FOLDER.is_dir():
        return []
    places = ", ".join(sorted(_replaced))
    return [f"Flask's instance folder is {FOLDER}, because {whoami()} can't write {places}"]


def move(module: ModuleType) -> None:
    """Change Flask's choice; module: `flask.app`."""
    find = module.Flask.auto_find_instance_path

    def auto_find_instance_path(self: Any) -> str:
        path: str = find(self)
        # The application uses a mounted folder: the user wants its data there.
        if can_write(path) or os.path.ismount(path) or not can_write(VOLUME):
            return path
        _replaced.add(path)
        if os.path.isdir(path):
            _bring(Path(path))
        return str(FOLDER)

    module.Flask.auto_find_instance_path = auto_find_instance_path


def _bring(source: Path) -> None:
    """Let the folder in the volume hold what the image's holds: as links, and once as copies."""
    try:
        files = list(source.iterdir())
        links = [file for file in files if file.suffix in _CONFIGURATION and file.is_file()]
        names = [file.name for file in links]
        if not FOLDER.exists():
            _copy(source, lambda folder, _: names if folder == str(source) else [])
        for file in links:
            if not os.path.lexists(link := FOLDER / file.name):
                link.symlink_to(file)
    except OSError as error:
        log(f"can't bring the files of {source} to {FOLDER}: {error}")


def _copy(source: Path, without: Callable[[str, list[str]], list[str]]) -> None:
    """Make the folder at once, with copies; does nothing if another process was first."""
    with tempfile.TemporaryDirectory(
        prefix=".instance-", dir=VOLUME, ignore_cleanup_errors=True
    ) as fresh:
        made = shutil.copytree(
            str(source), f"{fresh}/instance", ignore=without, copy_function=shutil.copyfile
        )
        with contextlib.suppress(OSError):
            os.rename(made, FOLDER)
