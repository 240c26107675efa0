"""Tells the handshakes of WebSockets from other requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from docker_flask.request.wsgi_types import Environ, StartResponse, Wsgi

# Calls an application that may take the connection; returns the body of the response, or raises
# Taken or Refused.
Take = Callable[[Wsgi, Environ, StartResponse], Iterable[bytes]]


class Taken(Exception):
    """The view has taken the connection: there is no response."""


class Refused(Exception):
    """A handshake that gets another response; status: of the response."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Handshakes:
    """Gives handshakes to `take`, and other requests to the application."""

    def __init__(self, application: Wsgi, take: Take) -> None:
        self._application = application
        self._take = take

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_UPGRADE" in environ and is_handshake(environ):
            return self._take(self._application, environ, start_response)
        return self._application(environ, start_response)


def is_handshake(environ: Environ) -> bool:
    """True for the first request of a WebSocket (RFC 6455, section 4.2.1)."""
    tokens = environ.get("HTTP_CONNECTION", "").lower().split(",")
    return (
        environ["HTTP_UPGRADE"].lower() == "websocket"
        and "upgrade" in [token.strip() for token in tokens]
        and environ["REQUEST_METHOD"] == "GET"
        and "HTTP_SEC_WEBSOCKET_KEY" in environ
        and environ.get("CONTENT_LENGTH", "") in ("", "0")
    )
