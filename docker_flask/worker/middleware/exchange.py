"""One request and its response, on their way through the handlers; and those of a whole worker."""

from collections.abc import Callable, Iterable
from typing import Any

from docker_flask.worker.middleware.headers import checked
from docker_flask.worker.middleware.wsgi_types import Environ, Headers


class Exchange:
    """A request, and the response as far as it is known.

    environ: of the server.

    status, headers, names: of the response, empty before there is one; names: of the headers, in
    lower case. written, result: what the application wrote and returned. rest: what follows the
    parts that are made.

    has_begun: the server has status and headers. is_stream: the body has no known length, and the
    application makes it while the client receives it. is_taken: a view has taken the connection,
    and there is no response. begun: when the request began, by the clock of Watch. silent_since:
    when the application started or resumed its work; negative while the client receives data, 0
    after the response.
    """

    # These stand here, because each assignment in __init__ costs time in every request.
    status = ""
    headers: Headers = []  # noqa: RUF012 (replaced, never changed)
    names: list[str] = []  # noqa: RUF012 (replaced, never changed)
    written: list[bytes] | None = None
    result: Iterable[bytes] = ()
    rest: Iterable[bytes] = ()
    has_begun = is_stream = is_taken = False
    begun = silent_since = 0.0

    def __init__(self, environ: Environ) -> None:
        self.environ = environ

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[..., Any]:
        """The application's `start_response`; the last call counts."""
        if self.has_begun or self.written:
            if exc_info:
                raise exc_info[1]
            raise RuntimeError("the application called start_response after its first bytes")
        self.headers, self.names = checked(status, headers)
        self.status = status
        return self._write

    def _write(self, data: bytes) -> None:
        """What `start_response` returns: WSGI's old way to send a body. It waits for the rest."""
        if self.written is None:
            self.written = []
        check_bytes(data)
        self.written.append(data)

    def respond(self, status: str, *headers: tuple[str, str]) -> None:
        """Respond in place of the application."""
        self.status, self.headers = status, [*headers]
        self.names, self.rest = [name.lower() for name, _ in headers], ()


class Watch:
    """The requests of a worker.

    clock: seconds. requests: by the thread that serves each.
    """

    def __init__(self) -> None:
        self.clock = 1.0
        self.requests: dict[int, Exchange] = {}

    def begin(self, thread: int, exchange: Exchange) -> None:
        """Watch a request from its start until it leaves `requests`; its thread calls this."""
        exchange.begun = exchange.silent_since = self.clock
        self.requests[thread] = exchange


def check_bytes(part: Any) -> None:
    """Raise TypeError for a part of a body that uWSGI would drop, with status 200."""
    if not isinstance(part, bytes):
        raise TypeError(f"a body is made of bytes, not of {type(part).__name__}")


Handler = Callable[[Exchange], Iterable[bytes]]
