"""The first handler: measures the time of each request, and counts the requests.

This runs at each request: every line costs.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from docker_flask.request.exchange import Exchange, Handler, WayOut
from docker_flask.request.wsgi_types import Environ, StartResponse, Wsgi


class Watch(Protocol):
    """Watches the requests of a worker.

    clock: seconds. silent_since: when, by this clock, the application started or resumed work on
    each thread's request; negative while the client receives data.
    """

    clock: float
    silent_since: dict[int, float]

    def begin(self, thread: int) -> None:
        """A thread starts to serve a request."""

    def forget(self, thread: int) -> None:
        """The thread has served the request."""


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
