"""The application's source files: which files count, and which file was edited.

This polls the files. It does not wait for events, because the file sharing of Docker Desktop does
not pass them on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

# What Python reads at a start. Flask itself reads changed templates.
WATCHED_SUFFIXES = (".py", ".env", ".flaskenv", "uwsgi.ini")
# What a browser shows, and people edit: no pictures and no data, which applications write.
PAGE_SUFFIXES = (".html", ".htm", ".jinja", ".jinja2", ".j2", ".css", ".js", ".mjs", ".svg")
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}

# A file's modification time (ns), size and mode. Any difference is an edit: git or an archive may
# replace a file with an older one. The file sharing of desktops may invent inodes and change times.
State = tuple[int, int, int]
Snapshot = dict[str, State]


class SourceWatcher:
    """Compares the source files in some folders, and some single files, with a snapshot.

    pages: also watch templates and static files.
    """

    def __init__(self, *places: str, pages: bool = False) -> None:
        self.places = list(places)
        self.pages = pages
        self.page_edited = False  # since the last call of `edited`
        self._snapshot: Snapshot = {}

    def remember(self) -> None:
        """Take a snapshot: only later changes are edits."""
        self._snapshot = self._scan(self.places)

    def add(self, place: str) -> None:
        """Watch one more folder or file: only later changes are edits."""
        if place not in self.places:
            self.places.append(place)
            self._snapshot = {**self._scan([place]), **self._snapshot}

    def edited(self) -> str | None:
        """A source file that was changed, added or removed; None if there is none."""
        now, before = self._scan(self.places), self._snapshot
        self.page_edited = False
        if now == before:
            return None
        changed = {path for path in now | before if now.get(path) != before.get(path)}
        source = min((path for path in changed if not path.endswith(PAGE_SUFFIXES)), default=None)
        if not source:
            self.page_edited, self._snapshot = True, now
        return source

    def _scan(self, places: Iterable[str]) -> Snapshot:
        return scan(places, WATCHED_SUFFIXES + PAGE_SUFFIXES if self.pages else WATCHED_SUFFIXES)


def scan(places: Iterable[str], suffixes: tuple[str, ...] = WATCHED_SUFFIXES) -> Snapshot:
    """The state of each file with a suffix in these folders, and of the files among the places."""
    seen: set[str] = set()
    found: Snapshot = {}
    for place in places:
        if os.path.isdir(place):
            for entry in _files(place, seen, suffixes):
                _note(entry, found)
        elif place not in found:
            _note(place, found)
    return found


def _note(file: str | os.DirEntry[str], found: Snapshot) -> None:
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError:  # the file was removed, or is a broken link
        return
    found[os.fspath(file)] = status.st_mtime_ns, status.st_size, status.st_mode


def _files(place: str, seen: set[str], suffixes: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """seen: folders that were visited before; links may lead back to them."""
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
                if name.endswith(suffixes):
                    if not name.startswith(".#"):  # lock files of Emacs
                        yield entry
                elif name[0] != "." and name not in SKIPPED_FOLDERS and _is_folder(entry):
                    folders.append(
                        os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for example
        return False
