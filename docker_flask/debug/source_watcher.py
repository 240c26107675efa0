"""The application's source files: which files count, and which file was edited.

This polls the files. It does not wait for events, because the file sharing of Docker Desktop does
not pass them on.
"""

import contextlib
import os

# What Python reads at a start. Flask itself reads changed templates. No JSON: many applications
# write data in it, and would restart at each request.
WATCHED_SUFFIXES = (
    ".py",
    ".env",
    ".flaskenv",
    "uwsgi.ini",
    ".mo",
    ".toml",
    ".yaml",
    ".yml",
)
# What a browser shows, and people edit: no pictures and no data, which applications write.
PAGE_SUFFIXES = (".html", ".htm", ".jinja", ".jinja2", ".j2", ".css", ".js", ".mjs", ".svg")
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}

# A file's modification time (ns), size and mode. Any difference is an edit: git or an archive may
# replace a file with an older one. The file sharing of desktops may invent inodes and change times.
Snapshot = dict[str, tuple[int, int, int]]


class SourceWatcher:
    """Compares the source files in some folders with a snapshot.

    pages: also watch templates and static files.
    """

    def __init__(self, *folders: str, pages: bool = False) -> None:
        self._folders = folders
        self._suffixes = WATCHED_SUFFIXES + PAGE_SUFFIXES if pages else WATCHED_SUFFIXES
        self._snapshot: Snapshot = {}
        self.page_edited = False  # since the last call of `edited`

    def remember(self) -> None:
        """Take a snapshot: only later changes are edits."""
        self._snapshot = self.scan()

    def edited(self) -> str | None:
        """A source file that was changed, added or removed; None if there is none."""
        now, before = self.scan(), self._snapshot
        changed = {path for path, _ in now.items() ^ before.items()}
        source = min((path for path in changed if not path.endswith(PAGE_SUFFIXES)), default=None)
        self.page_edited = bool(changed) and not source
        if self.page_edited:
            self._snapshot = now
        return source

    def scan(self) -> Snapshot:
        """The state of each file in the folders that counts."""
        found: Snapshot = {}
        for top in self._folders:
            for folder, folders, names in os.walk(top):
                folders[:] = [
                    name for name in folders if name[0] != "." and name not in SKIPPED_FOLDERS
                ]
                for path in (f"{folder}/{name}" for name in names if name.endswith(self._suffixes)):
                    with contextlib.suppress(OSError):  # removed, or a broken link
                        status = os.stat(path)
                        found[path] = status.st_mtime_ns, status.st_size, status.st_mode
        return found
