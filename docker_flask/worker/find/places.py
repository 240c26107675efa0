"""Where the threads and greenlets of this process are: in which lines of the user's files."""

import gc
import itertools
import os
import sys
from collections.abc import Iterator
from types import FrameType

# Lines of the user's files that a place names, the innermost first.
MAX_LINES = 3
# Folders of packages below the user's folder.
PACKAGES = ("/site-packages/", "/dist-packages/")


def frames() -> dict[int | None, FrameType | None]:
    """The innermost frame of each thread and greenlet, by its number."""
    found: dict[int | None, FrameType | None] = dict(sys._current_frames().items())
    if sys.modules.get("gevent.monkey"):
        from gevent import Greenlet

        greenlets = (each for each in gc.get_objects() if isinstance(each, Greenlet))
        found |= {id(greenlet): greenlet.gr_frame for greenlet in greenlets}
    return found


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and its callers, the innermost first."""
    while frame:
        yield frame
        frame = frame.f_back


def of_user(frame: FrameType | None, folder: str) -> list[FrameType]:
    """The frames of the user's files, the innermost first; folder: of these files, with `/`."""
    return [
        each
        for each in stack(frame)
        if (file := each.f_code.co_filename).startswith(folder)
        and not any(name in file for name in PACKAGES)
    ]


def words(frame: FrameType | None) -> str:
    """Where a request is, such as `app.py:11 in query_orders, called by app.py:30 in orders`.

    Without a line of the user's files: the innermost line of all; empty if nothing is known.
    """
    folder = os.path.join(os.getcwd(), "")
    chosen = of_user(frame, folder) or list(itertools.islice(stack(frame), 1))
    places = (
        f"{each.f_code.co_filename.removeprefix(folder)}:{each.f_lineno} in {each.f_code.co_name}"
        for each in chosen[:MAX_LINES]
    )
    return ", called by ".join(places)
