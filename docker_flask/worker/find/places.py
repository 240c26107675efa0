"""Where the threads and greenlets of this process are: in which lines of the user's files."""

import os
from types import FrameType

# Lines of the user's files that a place names, the innermost first.
MAX_LINES = 3
# Folders of packages below the user's folder.
PACKAGES = ("/site-packages/", "/dist-packages/")


def stack(frame: FrameType | None) -> list[FrameType]:
    """A frame and its callers, the innermost first."""
    found = []
    while frame:
        found.append(frame)
        frame = frame.f_back
    return found


def of_user(frames: list[FrameType], folder: str) -> list[FrameType]:
    """The frames of the user's files; folder: of these files, with `/`."""
    return [
        each
        for each in frames
        if (file := each.f_code.co_filename).startswith(folder)
        and not any(name in file for name in PACKAGES)
    ]


def words(frames: list[FrameType]) -> str:
    """Where a stack is, such as `app.py:11 in query_orders, called by app.py:30 in orders`.

    Without a line of the user's files: the innermost line of all; empty if nothing is known.
    """
    folder = os.path.join(os.getcwd(), "")
    chosen = of_user(frames, folder) or frames[:1]
    places = (
        f"{each.f_code.co_filename.removeprefix(folder)}:{each.f_lineno} in {each.f_code.co_name}"
        for each in chosen[:MAX_LINES]
    )
    return ", called by ".join(places)
