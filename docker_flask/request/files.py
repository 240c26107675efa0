"""nginx sends the files that the application responds with, in place of a worker.

Werkzeug's `send_file` wraps the open file with the server's `wsgi.file_wrapper`, and returns the
wrapper as the body. If the body is still this wrapper, nginx gets the path of the file. A worker
sends what has no path: BytesIO, pipes, and files that were removed after they were opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

from docker_flask.request.exchange import Exchange, Handler
from docker_flask.request.file_wrapper import File
from docker_flask.request.wsgi_types import Environ, Headers
from docker_flask.sendfile_headers import PUT_BACK

# Headers that nginx keeps, and headers that nginx sets itself.
_KEPT = ("cache-control", "content-disposition", "content-type", "expires")
_SET_BY_NGINX = ("accept-ranges", "content-length", "content-range", "date")
_ALLOWED = {*_KEPT, *_SET_BY_NGINX, *(name.lower() for name in PUT_BACK)}


class Files:
    """Hands files over to nginx; location: nginx's location for files."""

    def __init__(self, handler: Handler, location: str) -> None:
        self._handler = handler
        self._location = location

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        exchange.environ["wsgi.file_wrapper"] = File
        body = self._handler(exchange)
        kind = type(body)
        is_file = kind is File or kind.__name__ == "_RangeWrapper"
        if is_file and (found := self._redirect(exchange, body)):
            exchange.send("200 OK", found)
            return ()
        return body

    def drop_foreign(self, exchange: Exchange, names: set[str]) -> None:
        """Drop a header of another server, whose response the application passes on: nginx would
        send the file that the header names."""
        if "x-accel-redirect" in names:
            exchange.headers = [
                (name, value)
                for name, value in exchange.headers
                if name.lower() != "x-accel-redirect" or self._location not in unquote(value)
            ]

    def _redirect(self, exchange: Exchange, body: Any) -> Headers | None:
        """The headers with which nginx sends the body, a file; None if nginx can't send it."""
        code = "200"
        if type(body).__name__ == "_RangeWrapper":  # Werkzeug's; nginx sends the same range
            body, code = body.iterable, "206"
        if type(body) is not File or not exchange.status.startswith(code):
            return None
        environ, headers = exchange.environ, exchange.headers
        path = body.path() if _fits_nginx(environ, headers) else None
        if path is None:
            return None
        is_encoded = any(name.lower() == "content-encoding" for name, _ in headers)
        as_is = "/as-is" if is_encoded or "HTTP_RANGE" in environ else ""
        return [
            *((name, value) for name, value in headers if name.lower() not in _SET_BY_NGINX),
            ("X-Accel-Redirect", f"{self._location}{as_is}{quote(path)}"),
        ]


def _fits_nginx(environ: Environ, headers: Headers) -> bool:
    """True if nginx can respond to the request with a file and these headers."""
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_IF_MATCH" in environ:
        return False  # nginx would compare If-Match with its own ETag
    names = [name for name, _ in headers if name.lower() != "set-cookie"]
    once = {name.lower() for name in names}
    # No header that stands there twice, or that only the application knows.
    return len(once) == len(names) and once <= _ALLOWED
