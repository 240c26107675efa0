"""nginx sends the files that the application responds with, in place of a worker.

Werkzeug's `send_file` wraps the open file with the server's `wsgi.file_wrapper`, and returns the
wrapper as the body. If the body is still this wrapper, nginx gets the path of the file. A worker
sends what has no path: BytesIO, pipes, removed files.
"""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from docker_flask.shared.sendfile_headers import PUT_BACK
from docker_flask.worker.middleware.exchange import Exchange, Handler

BLOCK = 1 << 16
# Headers that nginx keeps, and headers that nginx sets itself.
_KEPT = ("cache-control", "content-disposition", "content-type", "expires")
_SET_BY_NGINX = ("accept-ranges", "content-length", "content-range", "date")
_ALLOWED = {*_KEPT, *_SET_BY_NGINX, *(name.lower() for name in PUT_BACK)}


class File:
    """An iterator over a file, with the methods of the file: Werkzeug seeks to send a range."""

    def __init__(self, file: Any, _block_size: int = BLOCK) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if block := self.file.read(BLOCK):
            return bytes(block)
        raise StopIteration

    def path(self) -> bytes | None:
        """The absolute path of a file with the content of this iterator; None if there is none."""
        # Other types decode the content, or remove the file when they are closed.
        if type(self.file) not in (io.BufferedReader, io.FileIO):
            return None
        with contextlib.suppress(OSError, ValueError, TypeError):  # TypeError: no path but a number
            opened = os.fstat(self.file.fileno())
            path = os.fsencode(os.path.realpath(self.file.name))
            # Devices and files in /proc have size 0, and a content.
            is_whole = self.file.tell() == 0 and opened.st_size > 0
            return path if is_whole and os.path.samestat(opened, os.stat(path)) else None
        return None


def files(handler: Handler, location: str) -> Handler:
    """Hands files over to nginx; location: nginx's location for files."""

    def handle(exchange: Exchange) -> Iterable[bytes]:
        exchange.environ["wsgi.file_wrapper"] = File
        body = handler(exchange)
        # nginx sends the same range as this wrapper of Werkzeug's.
        is_range = type(body).__name__ == "_RangeWrapper"
        file: Any = getattr(body, "iterable", None) if is_range else body
        is_file = type(file) is File and _fits_nginx(exchange, "206" if is_range else "200")
        path = file.path() if is_file else None
        if not path:
            return body
        is_as_is = "content-encoding" in exchange.names or "HTTP_RANGE" in exchange.environ
        place = f"{location}{'/as-is' if is_as_is else ''}{quote(path)}"
        named = zip(exchange.headers, exchange.names, strict=True)
        kept = [pair for pair, name in named if name not in _SET_BY_NGINX]
        exchange.respond("200 OK", *kept, ("X-Accel-Redirect", place))
        return ()

    return handle


def _fits_nginx(exchange: Exchange, code: str) -> bool:
    """True if nginx can respond to the request with a file and these headers."""
    environ = exchange.environ
    # nginx would compare If-Match with its own ETag.
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_IF_MATCH" in environ:
        return False
    names = [name for name in exchange.names if name != "set-cookie"]
    # No header that stands there twice, or that only the application knows.
    is_known = len({*names}) == len(names) and _ALLOWED.issuperset(names)
    return is_known and exchange.status.startswith(code)
