"""The static files that nginx serves in place of the application."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

DEFAULT_URL = "/static"
# The folder of an application that is not loaded yet.
NOWHERE = "/nowhere"
# A URL that needs no quotes in nginx.conf. The folder does not occur there: nginx follows a link.
URL = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
MAX_AGE_LIMIT = 315_360_000  # ten years, in seconds


@dataclass(frozen=True)
class StaticFiles:
    """Where the files are, and how long a client may cache them.

    url: the prefix of their addresses, without a slash at its end; folder: an absolute path;
    max_age: seconds that a client may use a file without a new request, None for never.

    After `looked_at`: may_change: the container can write to a file or folder. follows_links: nginx
    may follow a link to what the link's owner has. Another container may make links in a volume. So
    only if the folder has some already, and one other user alone can make more of them.
    """

    url: str
    folder: str
    max_age: int | None = None
    may_change: bool = False
    follows_links: bool = False

    def __post_init__(self) -> None:
        if not URL.fullmatch(self.url):
            raise ValueError(f"{self.url!r} is not a prefix for static files")
        if not os.path.isabs(self.folder) or "\0" in self.folder:
            raise ValueError(f"{self.folder!r} is not a folder for static files")
        age = self.max_age
        if age is not None and not (isinstance(age, int) and 0 <= age <= MAX_AGE_LIMIT):
            raise ValueError(f"{self.max_age!r} is not a max_age for static files")

    def looked_at(self) -> "StaticFiles":
        """The same files, after a look at each of them, which may take long."""
        own, may_change, has_links, is_open = os.geteuid(), False, False, False
        try:
            for path in self._paths():
                status, is_writable = os.lstat(path), os.access(path, os.W_OK)
                may_change |= is_writable
                if stat.S_ISLNK(status.st_mode):
                    has_links = True
                elif stat.S_ISDIR(status.st_mode):
                    is_open |= is_writable or status.st_uid == own or bool(status.st_mode & 0o022)
                if may_change and is_open:
                    break
        except OSError:  # another process removes files meanwhile
            may_change = is_open = True
        return replace(self, may_change=may_change, follows_links=has_links and not is_open)

    def _paths(self) -> Iterator[str]:
        for place, folders, names in os.walk(self.folder):
            for name in (".", *folders, *names):
                yield os.path.join(place, name)
