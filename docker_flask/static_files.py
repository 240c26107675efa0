"""The static files that nginx serves in the application's stead. Standard library only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

DEFAULT_URL = "/static"
# Stands for the folder of an application that is not found yet.
NOWHERE = "/nowhere"
# What nginx.conf can hold as it is. Nothing else gets there: the folder is reached by a link.
URL = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
LONGEST_AGE = 315_360_000  # ten years, in seconds
# Files and folders to look at before a start; thousands take some hundredths of a second.
MOST_LOOKS = 10_000


@dataclass(frozen=True)
class StaticFiles:
    """Where they are, and how long a client may keep them.

    url: the prefix of their addresses, with no slash behind it; folder: an absolute path;
    max_age: seconds for which a client need not ask again, None if it always has to.
    """

    url: str
    folder: str
    max_age: int | None = None

    def __post_init__(self) -> None:
        if not URL.fullmatch(self.url):
            raise ValueError(f"{self.url!r} is no prefix for static files")
        if not os.path.isabs(self.folder) or "\0" in self.folder:
            raise ValueError(f"{self.folder!r} is no folder for static files")
        age = self.max_age
        if age is not None and not (isinstance(age, int) and 0 <= age <= LONGEST_AGE):
            raise ValueError(f"{self.max_age!r} is no age for static files")

    def may_change(self) -> bool:
        """True if the container may write one of them, or if there are none yet, or too many.

        An application that is not found yet is taken for one that can't, like most.
        """
        looks = 0
        for place, _, names in os.walk(self.folder, followlinks=True):
            looks += 1 + len(names)
            if looks > MOST_LOOKS or os.access(place, os.W_OK):
                return True
            if any(os.access(os.path.join(place, name), os.W_OK) for name in names):
                return True
        return looks == 0 and self.folder != NOWHERE
