"""The application's source files: which count, and which of them has been edited.

Files are looked at, not waited for: events do not cross the file sharing of Docker Desktop.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

# What Python reads when it starts; templates are read anew by Flask itself.
WATCHED_SUFFIXES = (".py", ".env", ".flaskenv", "uwsgi.ini")
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}

# A file's modification time (ns), size and mode: to be compared, not to be understood. A file may
# become older by an edit, as when git or an archive brings it back.
State = tuple[int, int, int]
Snapshot = dict[str, State]


class Sources:
    """Source files in some folders, and some files, as they were when last remembered."""

    def __init__(self, *places: str) -> None:
        self.places = list(places)
        self._remembered: Snapshot = {}

    def remember(self) -> None:
        """Take what there is now for not edited."""
        self._remembered = look(self.places)

    def add(self, place: str) -> None:
        """Watch one more folder or file, from its present state on."""
        if place not in self.places:
            self.places.append(place)
            self._remembered = {**look([place]), **self._remembered}

    def edited(self) -> str | None:
        """A file that was changed, is new or is gone; None if there is none."""
        now, before = look(self.places), self._remembered
        if now == before:
            return None
        return min(path for path in now | before if now.get(path) != before.get(path))


def look(places: Iterable[str]) -> Snapshot:
    """The state of each source file in these folders, and of those that are named themselves."""
    seen: set[str] = set()
    found: Snapshot = {}
    for place in places:
        if os.path.isdir(place):
            for entry in _sources(place, seen):
                _note(entry, found)
        elif place not in found:
            _note(place, found)
    return found


def _note(file: str | os.DirEntry[str], found: Snapshot) -> None:
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError:  # gone meanwhile, or a link to nowhere
        return
    found[os.fspath(file)] = status.st_mtime_ns, status.st_size, status.st_mode


def _sources(place: str, seen: set[str]) -> Iterator[os.DirEntry[str]]:
    """seen: folders that need no second look; links may lead back to them."""
    folders = [os.path.realpath(place)]
    while folders:
        folder = folders.pop()
        if folder in seen:
            continue
        seen.add(folder)
        try:
            entries = os.scandir(folder)
        except OSError:
            continue
        with entries:
            for entry in entries:
                name = entry.name
                if name.endswith(WATCHED_SUFFIXES):
                    if not name.startswith(".#"):  # Emacs marks what it edits
                        yield entry
                elif name[0] != "." and name not in SKIPPED_FOLDERS and entry.is_dir():
                    folders.append(
                        os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    )
