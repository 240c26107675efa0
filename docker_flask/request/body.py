"""The body of a request, which the worker reads from its connection with nginx.

nginx has the whole body before it connects, so no client can slow this down, and the worker keeps
no copy. But nginx stops sending the body when the response begins.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from docker_flask.request.exchange import Exchange, Handler

BLOCK = 1 << 16
# Seconds without data, after which nginx sends no more of a body.
SILENCE = 1.0


class RequestBody:
    """Stands in for `wsgi.input`; length: of the body."""

    def __init__(self, source: BinaryIO, length: int) -> None:
        self._source = source
        self._left = length
        self._kept: BinaryIO | None = None

    def read(self, *size: Any) -> bytes:
        return self._counted(self._source.read(*size))

    def readline(self, *size: Any) -> bytes:
        return self._counted(self._source.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        lines = self._source.readlines(*hint)
        self._left -= sum(map(len, lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data

    def keep(self) -> None:
        """Read the rest now, because the application may need it during its response."""
        if self._left <= 0 or self._kept:
            return
        rest: Any = tempfile.SpooledTemporaryFile(max_size=BLOCK)  # noqa: SIM115
        while block := self.read(BLOCK):
            rest.write(block)
        rest.seek(0)
        self._source = self._kept = rest

    def drop(self) -> None:
        """Take what nginx has sent of the rest, after the response.

        If a server closes a connection with unread data, the kernel resets the connection. nginx
        may then lose the response, and respond with 502.
        """
        if self._kept:
            self._kept.close()
        elif self._left > 0:
            with contextlib.suppress(OSError, ValueError):  # nginx has left, or the body is closed
                if uwsgi := sys.modules.get("uwsgi"):  # it would log that nginx has left
                    _read_to_end(uwsgi.connection_fd())
                while not uwsgi and self._source.read(BLOCK):
                    pass


class Bodies:
    """Gives the application a RequestBody."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        length = environ.get("CONTENT_LENGTH")
        if length and length != "0" and length.isdecimal():
            body = RequestBody(environ["wsgi.input"], int(length))
            environ["wsgi.input"] = exchange.request_body = body
        return self._handler(exchange)


def _read_to_end(connection: int) -> None:
    """Read from a nonblocking descriptor until nginx closes it."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while poll.poll(SILENCE * 1000) and os.read(connection, BLOCK):
        pass
