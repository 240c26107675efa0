"""The `wsgi.file_wrapper` of the server."""

from __future__ import annotations

import io
import os
from typing import Any

_BLOCK = 1 << 16


class File:
    """An iterator over a file."""

    def __init__(self, file: Any, block_size: int = _BLOCK) -> None:
        self.file = file
        self._block = max(block_size, _BLOCK)

    def __iter__(self) -> File:
        return self

    def __next__(self) -> bytes:
        if block := self.file.read(self._block):
            return bytes(block)
        raise StopIteration

    # Werkzeug uses these methods to send a range.

    def seekable(self) -> bool:
        return hasattr(self.file, "seekable") and bool(self.file.seekable())

    def seek(self, *arguments: int) -> None:
        self.file.seek(*arguments)

    def tell(self) -> int:
        return int(self.file.tell())

    def close(self) -> None:
        if hasattr(self.file, "close"):
            self.file.close()

    def path(self) -> bytes | None:
        """The absolute path of a file with the content of this iterator; None if there is none."""
        # Other types decode the content, or remove the file when they are closed.
        if type(self.file) not in (io.BufferedReader, io.FileIO):
            return None
        name = self.file.name
        if not isinstance(name, (str, bytes)):
            return None  # opened by a descriptor
        try:
            opened = os.fstat(self.file.fileno())
            path = os.fsencode(os.path.realpath(name))
            found = os.stat(path)
            position = self.file.tell()
        except (OSError, ValueError):
            return None
        # Devices and files in /proc have size 0, and a content.
        whole = position == 0 and opened.st_size > 0
        return path if whole and os.path.samestat(opened, found) else None
