"""Tells the handshakes of WebSockets from other requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from docker_flask.request.exchange import Exchange, Handler

# Calls the application, which may take the connection, by the handler; returns the body of the
# response.
Take = Callable[[Handler, Exchange], Iterable[bytes]]


def handshakes(handler: Handler, take: Take) -> Handler:
    """Gives handshakes to `take`, and other requests to the handler.

    nginx passes `Upgrade` with handshakes only (nginx/parts/websockets.conf), but the user's own
    nginx.conf may pass it with any request.
    """

    def handle(exchange: Exchange) -> Iterable[bytes]:
        if exchange.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            return take(handler, exchange)
        return handler(exchange)

    return handle
