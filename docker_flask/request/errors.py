"""Turns exceptions of the application into responses: no request ends its worker."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator

from docker_flask.discovery import permission_hints
from docker_flask.log import log
from docker_flask.request.exchange import Exchange, Handler
from docker_flask.request.headers import HeadersTooLarge
from docker_flask.request.web_socket import Refused, Taken

_FAILED = b"Internal Server Error\n"


class Errors:
    """Responds with 500 if the application fails before its first bytes."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        try:
            parts = self._handler(exchange)
        except BaseException as error:  # also SystemExit
            return _failed(exchange, error)
        return parts if type(parts) is list else _guarded(exchange, parts)


def _guarded(exchange: Exchange, parts: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from parts
    except GeneratorExit:  # the client has left
        raise
    except BaseException as error:
        yield from _failed(exchange, error)


def _failed(exchange: Exchange, error: BaseException) -> list[bytes]:
    """The parts of the response in place of that of the application."""
    if isinstance(error, Taken):  # the server sends nothing, and forgets the connection
        return []
    if isinstance(error, Refused):
        plain = [("Retry-After", "2"), ("Content-Type", "text/plain")]
        exchange.start_response(error.status, plain)
        return [str(error).encode()]
    if exchange.headers_sent:
        # The server closes the connection in the middle of the response.
        raise RuntimeError("the application failed within its response") from error
    if isinstance(error, HeadersTooLarge):
        log(str(error))
    else:
        traceback.print_exc()
        permission_hints.explain(error)
    plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(_FAILED)))]
    # Replaces headers that the server has refused.
    exchange.start_response("500 Internal Server Error", plain)
    return [_FAILED]
