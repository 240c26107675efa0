"""What a container can lack: room on a disk, memory, threads; the words for its log."""

from collections.abc import Callable
from typing import TypeVar

from docker_flask.shared.drop_privileges import NotPermitted

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h

T = TypeVar("T")


def in_words(error: OSError | MemoryError) -> str:
    """What is missing."""
    return str(error) or "no memory is left; raise the limit (-m)"


def why_not_run(error: OSError | MemoryError) -> str:
    """The last line of a container that ends."""
    return f"the container can't run: {in_words(error)}"


def with_thread(start: Callable[[], T]) -> T:
    """Start a thread; raises NotPermitted if none can start: old engines refuse libc's clone3."""
    try:
        return start()
    except RuntimeError:
        raise NotPermitted(
            "can't start new thread: use Docker 20.10.10 or newer, or a higher --pids-limit"
        ) from None
