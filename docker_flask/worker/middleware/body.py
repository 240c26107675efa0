"""The body of a request, which the worker reads from its connection with nginx.

nginx has the whole body before it connects, so no client can slow this down, and the worker keeps
no copy. But nginx stops sending the body when the response begins.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from docker_flask.worker.middleware.exchange import Exchange, Handler

BLOCK = 1 << 16


class RequestBody:
    """Stands in for `wsgi.input`; source: what the server gives."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._source)

    def keep(self) -> None:
        """Read the rest now, because the application may need it during its response."""
        rest: Any = tempfile.SpooledTemporaryFile(max_size=BLOCK)  # noqa: SIM115
        shutil.copyfileobj(self._source, rest, BLOCK)
        rest.seek(0)
        self._source = rest

    def drop(self) -> None:
        """Read the rest before the response, and forget it.

        If a server closes a connection with unread data, the kernel resets the connection. nginx
        may then lose the response, and respond with 502.
        """
        with contextlib.suppress(OSError):  # nginx has left
            while self._source.read(BLOCK):
                pass


def bodies(handler: Handler) -> Handler:
    """Gives the application a RequestBody, if the request has a body."""

    def handle(exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        length = environ.get("CONTENT_LENGTH")
        if not length or length == "0":
            return handler(exchange)
        body = environ["wsgi.input"] = RequestBody(environ["wsgi.input"])
        try:
            return handler(exchange)
        finally:  # the next handler to return begins the response
            if exchange.is_stream:
                body.keep()
            elif not exchange.is_taken:
                body.drop()

    return handle
