"""Files that the application answers with are sent by nginx, not by a worker.

Werkzeug's `send_file` asks the server, by WSGI's own `wsgi.file_wrapper`, for a wrapper around the
open file, and returns that. Where it comes back as it is, nginx is told the file's path instead.
A worker sends what has no path: BytesIO, pipes, and files that were removed meanwhile.
"""

from __future__ import annotations

import io
import os
from typing import Any
from urllib.parse import quote

from docker_flask.sendfile_headers import PUT_BACK
from docker_flask.worker.wsgi_types import Environ, Headers

# Those that it keeps, and those that it makes itself.
_KEPT = ("cache-control", "content-disposition", "content-type", "expires")
_MADE = ("accept-ranges", "content-length", "content-range", "date")
_ONCE = {*_KEPT, *_MADE, *(name.lower() for name in PUT_BACK)}
_BLOCK = 1 << 16


class File:
    """What the server gives the application as `wsgi.file_wrapper`: an iterator over a file."""

    def __init__(self, file: Any, block_size: int = _BLOCK) -> None:
        self.file = file
        self._block = max(block_size, _BLOCK)

    def __iter__(self) -> File:
        return self

    def __next__(self) -> bytes:
        if block := self.file.read(self._block):
            return bytes(block)
        raise StopIteration

    # Asked for by Werkzeug, to send a range.

    def seekable(self) -> bool:
        return hasattr(self.file, "seekable") and bool(self.file.seekable())

    def seek(self, *arguments: int) -> None:
        self.file.seek(*arguments)

    def tell(self) -> int:
        return int(self.file.tell())

    def close(self) -> None:
        if hasattr(self.file, "close"):
            self.file.close()

    def path(self) -> str | None:
        """The absolute path under which anybody would read what iterating would give."""
        # Other kinds decode what they read, or remove the file once they are closed.
        if type(self.file) not in (io.BufferedReader, io.FileIO):
            return None
        name = self.file.name
        if not isinstance(name, (str, bytes)):
            return None  # opened by its descriptor
        try:
            opened = os.fstat(self.file.fileno())
            path = os.fsdecode(os.path.realpath(name))
            found = os.stat(path)
            begin = self.file.tell()
        except (OSError, ValueError):
            return None
        # Devices and the files of /proc have no size, but a content all the same.
        whole = begin == 0 and opened.st_size > 0
        return path if whole and os.path.samestat(opened, found) else None


def handed_over(
    prefix: str, environ: Environ, status: str, headers: Headers, body: Any
) -> Headers | None:
    """The headers by which nginx sends the file that is the body; None if it can't.

    prefix: of nginx's location for files; the status is to be 200 then.
    """
    code = "200"
    if type(body).__name__ == "_RangeWrapper":  # Werkzeug's; nginx makes the same range of it
        body, code = body.iterable, "206"
    if type(body) is not File or not status.startswith(code):
        return None
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_IF_MATCH" in environ:
        return None  # nginx would compare that with an ETag of its own
    names = [name for name, _ in headers if name.lower() != "set-cookie"]
    once = {name.lower() for name in names}
    if len(once) < len(names) or not once <= _ONCE:
        return None  # what a header means that stands there twice, or is the application's own
    path = body.path()
    if path is None:
        return None
    as_is = "/as-is" if "content-encoding" in once or "HTTP_RANGE" in environ else ""
    return [
        *((name, value) for name, value in headers if name.lower() not in _MADE),
        ("X-Accel-Redirect", f"{prefix}{as_is}{quote(os.fsencode(path))}"),
    ]


def without_x_sendfile(application: Any) -> None:
    """Turn off Flask's own way of leaving files to a server, for one that knows X-Sendfile."""
    config = getattr(application, "config", None)
    if isinstance(config, dict) and config.get("USE_X_SENDFILE"):
        config["USE_X_SENDFILE"] = False
