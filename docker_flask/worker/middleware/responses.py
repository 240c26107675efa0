"""Gives the response of the application to the server: also if the application fails."""

import traceback
from collections.abc import Iterable, Iterator

from docker_flask.worker.hooks import permission_hints
from docker_flask.worker.middleware.exchange import Exchange, Handler, check_bytes

_FAILED = b"Internal Server Error\n"
# In a response of another server, which the application passes on, these describe another
# connection, or direct nginx: to send a file, to store the page. nginx gets only the image's own.
_FOREIGN = ("transfer-encoding", "x-accel-")


def respond(handler: Handler) -> Handler:
    """Sends status and headers together with the first part of the body.

    If the application fails before, the client gets a 500: no request ends its worker.
    """

    def handle(exchange: Exchange) -> Iterable[bytes]:
        try:
            parts = handler(exchange)
            if type(parts) is not list:
                return _sent(exchange, parts)
            # A list is ready to be sent: nothing that follows needs to look at its parts.
            for part in parts:
                check_bytes(part)
            exchange.send_headers()
        except BaseException as error:  # also SystemExit
            return _failed(exchange, error)
        return parts

    return handle


def _sent(exchange: Exchange, parts: Iterable[bytes]) -> Iterator[bytes]:
    try:
        for part in parts:
            check_bytes(part)
            exchange.send_headers()
            yield part
        exchange.send_headers()
    except GeneratorExit:  # the client has left
        raise
    except BaseException as error:
        yield from _failed(exchange, error)


def _failed(exchange: Exchange, error: BaseException) -> list[bytes]:
    """The parts of the response in place of that of the application."""
    if exchange.headers_sent:
        # The server closes the connection in the middle of the response.
        raise RuntimeError("the application failed within its response") from error
    traceback.print_exception(error)
    permission_hints.explain(error)
    plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(_FAILED)))]
    # Replaces headers that the server has refused.
    exchange.send("500 Internal Server Error", plain)
    return [_FAILED]


def adjust(exchange: Exchange, names: set[str]) -> None:
    """Drop foreign headers; if the length is unknown, prepare a stream."""
    if any(name.startswith(_FOREIGN) for name in names):
        exchange.headers = [
            pair for pair in exchange.headers if not pair[0].lower().startswith(_FOREIGN)
        ]
    if "content-length" in names:
        return
    if exchange.request_body:
        exchange.request_body.keep()
    if not isinstance(exchange.result, (list, tuple)):
        # The body comes in parts, as events do: nginx passes on each part immediately.
        exchange.headers = [*exchange.headers, ("X-Accel-Buffering", "no")]
