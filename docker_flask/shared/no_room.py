"""What a container can lack: room on a disk, memory, threads; the words for its log."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from docker_flask.shared.drop_privileges import NotPermitted

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h

T = TypeVar("T")


def in_words(error: Exception) -> str:
    """What is wrong; of a full disk and of too little memory: also what to do."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error}; delete files on this disk, or make it larger"
    return str(error) or "no memory is left; raise the limit (-m)"


def why_not_run(error: OSError | MemoryError) -> str:
    """The last line of a container that ends."""
    return f"the container can't run: {in_words(error)}"


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file; raises OSError, which names the file also if only its content has no room."""
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def with_thread(start: Callable[[], T]) -> T:
    """Start a thread; raises NotPermitted if none can start: old engines refuse libc's clone3."""
    try:
        return start()
    except RuntimeError:
        raise NotPermitted(
            "can't start new thread: use Docker 20.10.10 or newer, or a higher --pids-limit"
        ) from None
