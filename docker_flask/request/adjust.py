"""Adjusts the headers of a response for nginx."""

from __future__ import annotations

from docker_flask.request.exchange import Exchange

# In a response of another server, which the application passes on, these do not describe this
# connection: nginx rejects the first beside a length, and by the second it would store a page that
# cache.py has not checked.
_FOREIGN = ("transfer-encoding", "x-accel-expires")


def adjust(exchange: Exchange, names: set[str]) -> None:
    """Drop foreign headers; if the length is unknown, prepare a stream."""
    for name in _FOREIGN:
        if name in names:
            exchange.remove(name)
    if "content-length" in names:
        return
    if exchange.request_body:
        # nginx waits for the end of this response, and sends no more of the body meanwhile.
        exchange.request_body.keep()
    if "x-accel-buffering" not in names and not isinstance(exchange.result, (list, tuple)):
        # The body comes in parts, as events do: nginx passes on each part immediately.
        exchange.headers = [*exchange.headers, ("X-Accel-Buffering", "no")]
