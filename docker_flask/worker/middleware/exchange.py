"""One request and its response, on their way through the handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from docker_flask.worker.middleware.headers import checked
from docker_flask.worker.middleware.wsgi_types import Environ, Headers, StartResponse

# A response with these headers alone needs no adjustment.
PLAIN = {"content-type", "content-length"}


class Exchange:
    """A request, and the response as far as the application has given it.

    The way of a response is known only when the application has returned the body, and the
    application has called `start_response` by then. So the call of the server's `start_response`
    waits for the first part of the body. If the application fails before that part, the client gets
    a complete error response.

    environ, start_response: of the server. status, headers: from the application, empty before it
    calls `start`. result: what the application returned. request_body: what stands in for
    `wsgi.input`. headers_sent: the server has status and
    headers. is_taken: a view has taken the connection, and there is no response. way_out: is called
    with this object and the names of its headers, before the server gets them.
    """

    # These stand here, because each assignment in __init__ costs time in every request.
    status = ""
    headers: Headers = []  # noqa: RUF012 (replaced, never changed)
    result: Iterable[bytes] = ()
    request_body: Any = None
    headers_sent = is_taken = False
    _push: Callable[[bytes], Any] | None = None

    def __init__(
        self, environ: Environ, start_response: StartResponse, way_out: tuple[WayOut, ...] = ()
    ) -> None:
        self.environ = environ
        self.start_response = start_response
        self.way_out = way_out

    def start(self, status: str, headers: Headers, *exc_info: Any) -> Callable[..., Any]:
        """The application's `start_response`; the last call counts."""
        if self.headers_sent:
            if exc_info and exc_info[0]:
                raise exc_info[0][1]
            raise RuntimeError("the application called start_response after its first bytes")
        self.headers = checked(status, headers)
        self.status = status
        return self._write

    def send_headers(self) -> None:
        """Give the server status and headers, if they are not sent yet."""
        if self.headers_sent or self.is_taken:
            return
        if not self.status:
            raise RuntimeError("the application has not called start_response")
        names = {name.lower() for name, _ in self.headers}
        if names != PLAIN:
            for step in self.way_out:
                step(self, names)
        self.send(self.status, self.headers)

    def send(self, status: str, headers: Headers) -> None:
        """Give the server a status and headers."""
        if self.request_body:
            self.request_body.drop()
        self._push = self.start_response(status, headers)
        self.headers_sent = True

    def end(self) -> None:
        """Close what the application returned."""
        close = getattr(self.result, "close", None)
        if close and not self.is_taken:
            close()

    def _write(self, data: bytes) -> None:
        """What `start_response` returns: WSGI's old way to send a body."""
        check_bytes(data)
        self.send_headers()
        if self._push is not None:
            self._push(data)


def check_bytes(part: Any) -> None:
    """Raise TypeError for a part of a body that uWSGI would drop, with status 200."""
    if not isinstance(part, bytes):
        raise TypeError(f"a body is made of bytes, not of {type(part).__name__}")


Handler = Callable[[Exchange], Iterable[bytes]]
WayOut = Callable[[Exchange, set[str]], None]
