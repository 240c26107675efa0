"""The first handler: measures the time of each request, and counts the requests.

This runs at each request: every line costs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from docker_flask.request.exchange import Exchange, Handler, WayOut
from docker_flask.request.wsgi_types import Environ, StartResponse


class Watch(Protocol):
    """Watches the requests of a worker.

    silent_since: when the application started or resumed work on each thread's request; negative
    while the client receives data.
    """

    silent_since: dict[int, float]

    def begin(self, thread: int) -> None:
        """A thread starts to serve a request."""

    def forget(self, thread: int) -> None:
        """The thread has served the request."""


class Timing:
    """Measures the application's time, not the time in which the client receives data.

    count: is called at the end of each request.
    """

    def __init__(
        self,
        handler: Handler,
        watch: Watch,
        count: Callable[[], None],
        way_out: tuple[WayOut, ...] = (),
    ) -> None:
        self._handler = handler
        self._begin, self._forget = watch.begin, watch.forget
        self._silent_since = watch.silent_since
        self._count = count
        self._way_out = way_out

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        thread, silent_since, now = threading.get_ident(), self._silent_since, time.monotonic
        self._begin(thread)
        exchange = Exchange(environ, start_response, self._way_out)
        try:
            for part in self._handler(exchange):
                silent_since[thread] = -now()
                yield part
                silent_since[thread] = now()
        finally:
            silent_since.pop(thread, None)
            try:
                exchange.end()
            finally:
                self._forget(thread)
                self._count()
