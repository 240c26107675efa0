"""The static files that nginx serves in place of the application."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

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
    """

    url: str
    folder: str
    max_age: int | None = None

    def __post_init__(self) -> None:
        if not URL.fullmatch(self.url):
            raise ValueError(f"{self.url!r} is not a prefix for static files")
        if not os.path.isabs(self.folder) or "\0" in self.folder:
            raise ValueError(f"{self.folder!r} is not a folder for static files")
        age = self.max_age
        if age is not None and not (isinstance(age, int) and 0 <= age <= MAX_AGE_LIMIT):
            raise ValueError(f"{self.max_age!r} is not a max_age for static files")

    def may_change(self) -> bool:
        """True if the container can write to a file or folder."""
        return any(os.access(path, os.W_OK) for path in self._paths())

    def follows_links(self) -> bool:
        """True if nginx may follow a link to what the link's owner has.

        Another container may make links in a volume. So only if the folder has some already, and
        one other user alone can make more of them.
        """
        has_links, own = False, os.geteuid()
        with contextlib.suppress(OSError):  # another process removes files meanwhile
            for path in self._paths():
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    has_links = True
                elif stat.S_ISDIR(status.st_mode) and (
                    status.st_uid == own or status.st_mode & 0o022 or os.access(path, os.W_OK)
                ):
                    return False
            return has_links
        return False

    def _paths(self) -> Iterator[str]:
        for place, folders, names in os.walk(self.folder):
            for name in (".", *folders, *names):
                yield os.path.join(place, name)
