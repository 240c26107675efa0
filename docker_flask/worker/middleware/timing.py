"""The first handler: measures the time of each request, and counts the requests.

This runs at each request: every line costs.
"""

import threading
from collections.abc import Callable, Iterator

from docker_flask.worker.middleware.exchange import Exchange, Handler, WayOut
from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi


class Watch:
    """The requests of a worker.

    clock: seconds. active: for each thread that serves a request, its environ and, by this clock,
    its start. silent_since: when the application started or resumed work on each thread's request;
    negative while the client receives data.
    """

    def __init__(self) -> None:
        self.clock = 1.0
        self.active: dict[int, tuple[Environ, float]] = {}
        self.silent_since: dict[int, float] = {}

    def begin(self, thread: int, environ: Environ) -> None:
        """Watch a thread that starts to serve a request; this thread calls it."""
        clock = self.clock
        self.active[thread] = environ, clock
        self.silent_since[thread] = clock

    def forget(self, thread: int) -> None:
        """Watch the thread no more."""
        self.silent_since.pop(thread, None)
        self.active.pop(thread, None)


def timed(
    handler: Handler, watch: Watch, count: Callable[[], None], way_out: tuple[WayOut, ...]
) -> Wsgi:
    """Measures the application's time, not the time in which the client receives data.

    count: is called at the end of each request.
    """
    begin, forget, silent_since = watch.begin, watch.forget, watch.silent_since

    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        thread = threading.get_ident()
        begin(thread, environ)
        exchange = Exchange(environ, start_response, way_out)
        try:
            for part in handler(exchange):
                silent_since[thread] = -watch.clock
                yield part
                silent_since[thread] = watch.clock
        finally:
            silent_since.pop(thread, None)
            try:
                exchange.end()
            finally:
                forget(thread)
                count()

    return application
