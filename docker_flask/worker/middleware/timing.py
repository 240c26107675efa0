"""The first handler: measures the time of each request, and counts the requests.

This runs at each request: every line costs.
"""

import threading
from collections.abc import Callable, Iterator

from docker_flask.worker.middleware.exchange import Exchange, Handler, WayOut
from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi


class Watch:
    """The requests of a worker.

    clock: seconds. active: threads that serve a request. silent_since: when, by this clock, the
    application started or resumed work on each thread's request; negative while the client receives
    data.
    """

    def __init__(self) -> None:
        self.clock = 1.0
        self.active: set[int] = set()
        self.silent_since: dict[int, float] = {}

    def begin(self, thread: int) -> None:
        """Watch a thread that starts to serve a request; this thread calls it."""
        self.active.add(thread)
        self.silent_since[thread] = self.clock

    def forget(self, thread: int) -> None:
        """Watch the thread no more."""
        self.silent_since.pop(thread, None)
        self.active.discard(thread)


def timed(
    handler: Handler, watch: Watch, count: Callable[[], None], way_out: tuple[WayOut, ...]
) -> Wsgi:
    """Measures the application's time, not the time in which the client receives data.

    count: is called at the end of each request.
    """
    begin, forget, silent_since = watch.begin, watch.forget, watch.silent_since

    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        thread = threading.get_ident()
        begin(thread)
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
