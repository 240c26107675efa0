"""What a container can lack, room on a disk or memory: the words for its log."""

import errno
import os
from pathlib import Path


def in_words(error: Exception) -> str:
    """What is wrong; of a full disk and of too little memory: also what to do."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error}; delete files on this disk, or make it larger"
    return str(error) or "no memory is left; raise the limit (-m)"


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file; raises OSError, which names the file also if only its content has no room."""
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
