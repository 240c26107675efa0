"""nginx sends the files that the application responds with, in place of a worker.

Werkzeug's `send_file` wraps the open file with the server's `wsgi.file_wrapper`, and returns the
wrapper as the body. If the body is still this wrapper, nginx gets the path of the file. A worker
sends what has no path: BytesIO, pipes, and files that were removed after they were opened.
"""

from __future__ import annotations

import io
import os
from typing import Any
from urllib.parse import quote

from docker_flask.sendfile_headers import PUT_BACK
from docker_flask.worker.wsgi_types import Environ, Headers

# Headers that nginx keeps, and headers that nginx sets itself.
_KEPT = ("cache-control", "content-disposition", "content-type", "expires")
_SET_BY_NGINX = ("accept-ranges", "content-length", "content-range", "date")
_ALLOWED = {*_KEPT, *_SET_BY_NGINX, *(name.lower() for name in PUT_BACK)}
_BLOCK = 1 << 16


class File:
    """The `wsgi.file_wrapper` of the server: an iterator over a file."""

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

    def path(self) -> str | None:
        """The absolute path of a file with the content of this iterator; None if there is none."""
        # Other types decode the content, or remove the file when they are closed.
        if type(self.file) not in (io.BufferedReader, io.FileIO):
            return None
        name = self.file.name
        if not isinstance(name, (str, bytes)):
            return None  # opened by a descriptor
        try:
            opened = os.fstat(self.file.fileno())
            path = os.fsdecode(os.path.realpath(name))
            found = os.stat(path)
            position = self.file.tell()
        except (OSError, ValueError):
            return None
        # Devices and files in /proc have size 0, and a content.
        whole = position == 0 and opened.st_size > 0
        return path if whole and os.path.samestat(opened, found) else None


def handed_over(
    prefix: str, environ: Environ, status: str, headers: Headers, body: Any
) -> Headers | None:
    """The headers with which nginx sends the body, a file; None if nginx can't send it.

    prefix: of nginx's location for files. The response's status has to be 200 then.
    """
    code = "200"
    if type(body).__name__ == "_RangeWrapper":  # Werkzeug's; nginx sends the same range
        body, code = body.iterable, "206"
    if type(body) is not File or not status.startswith(code):
        return None
    if not _fit_nginx(environ, headers):
        return None
    path = body.path()
    if path is None:
        return None
    is_encoded = any(name.lower() == "content-encoding" for name, _ in headers)
    as_is = "/as-is" if is_encoded or "HTTP_RANGE" in environ else ""
    return [
        *((name, value) for name, value in headers if name.lower() not in _SET_BY_NGINX),
        ("X-Accel-Redirect", f"{prefix}{as_is}{quote(os.fsencode(path))}"),
    ]


def _fit_nginx(environ: Environ, headers: Headers) -> bool:
    """True if nginx can respond to the request with a file and these headers."""
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_IF_MATCH" in environ:
        return False  # nginx would compare If-Match with its own ETag
    names = [name for name, _ in headers if name.lower() != "set-cookie"]
    once = {name.lower() for name in names}
    # No header that stands there twice, or that only the application knows.
    return len(once) == len(names) and once <= _ALLOWED


def without_x_sendfile(application: Any) -> None:
    """Turn off Flask's own X-Sendfile header, which nginx does not support."""
    config = getattr(application, "config", None)
    if isinstance(config, dict) and config.get("USE_X_SENDFILE"):
        config["USE_X_SENDFILE"] = False
