"""Source that the application loads from outside the working directory."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from docker_flask import notify
from docker_flask.discovery import loaded_modules

# Nobody edits installed packages.
_PACKAGES = re.compile(r"/(site|dist)-packages(/|$)")
_INSTALLED = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[2]))


class LoadedFiles:
    """Notifies debug/reloader.py of folders on sys.path and of modules, which it then watches.

    notify_fd: where the messages go.
    """

    def __init__(self, notify_fd: int) -> None:
        self._notify_fd = notify_fd
        self._watched = [os.getcwd()]
        self._modules = 0

    def report(self) -> None:
        """Report what is new since the last call."""
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        # A folder that contains Python itself, such as /, is no folder of source.
        folders = [f for f in sys.path if os.path.isdir(f) and not _within([f], sys.prefix)]
        for place in [*folders, *loaded_modules.files()]:
            path = os.path.abspath(place)
            known = _within(self._watched, path) and (os.path.isdir(path) or path.endswith(".py"))
            if not known and not _within(_INSTALLED, path) and not _PACKAGES.search(path):
                self._watched.append(path)
                notify.send(self._notify_fd, "source", path)


def _within(folders: Iterable[str], path: str) -> bool:
    return any(os.path.join(path, "").startswith(os.path.join(folder, "")) for folder in folders)
