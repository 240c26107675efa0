"""Calls the application, and sends the parts of the body that it returns."""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Iterable, Iterator

from docker_flask.request import headers as rules
from docker_flask.request.exchange import Exchange, Handler
from docker_flask.request.wsgi_types import Environ, Wsgi

BLOCK = 1 << 16
# The kernel's send buffer (bytes) for a response whose first part has at least BLOCK bytes. The
# kernel doubles the number for its own needs (socket(7)), and uses 20 % of that for other
# responses. A larger buffer is not faster (benchmarks/TRIED.md).
SEND_BUFFER = 1 << 19


class Call:
    """The last handler: calls the application."""

    def __init__(self, application: Wsgi) -> None:
        self._application = application

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        # The user's own nginx.conf may send no REQUEST_URI.
        environ["RAW_URI"] = environ.setdefault("REQUEST_URI", "")
        environ.setdefault("SCRIPT_NAME", "")
        exchange.result = self._application(environ, exchange.start)
        return exchange.result


class Parts:
    """Sends status and headers together with the first part of the body.

    A list is ready to be sent, and nothing that follows needs to look at its parts.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        parts = self._handler(exchange)
        if type(parts) is not list:
            return _sent(exchange, parts)
        for part in parts:
            rules.check_bytes(part)
        exchange.send_headers()
        if parts and len(parts[0]) >= BLOCK:
            _enlarge_send_buffer(exchange.environ)
        return parts


def _sent(exchange: Exchange, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        rules.check_bytes(part)
        if not exchange.headers_sent:
            exchange.send_headers()
            if len(part) >= BLOCK:
                _enlarge_send_buffer(exchange.environ)
        yield part
    exchange.send_headers()


def connection_of(environ: Environ) -> int | None:
    """The descriptor of the request's connection with nginx, if the server shows it."""
    if connection := environ.get("gunicorn.socket"):
        return int(connection.fileno())
    uwsgi = sys.modules.get("uwsgi")
    return int(uwsgi.connection_fd()) if uwsgi else None


def _enlarge_send_buffer(environ: Environ) -> None:
    """Let the kernel take a large part of a response at once.

    Otherwise nginx and the worker wake each other for each small part. This uses no socket object
    of Python: if the application has set a default timeout, a socket object makes the connection
    of the server nonblocking.
    """
    descriptor = connection_of(environ)
    if descriptor is None:
        return
    size = ctypes.c_int(SEND_BUFFER)
    ctypes.CDLL(None).setsockopt(
        descriptor, socket.SOL_SOCKET, socket.SO_SNDBUF, ctypes.byref(size), ctypes.sizeof(size)
    )
