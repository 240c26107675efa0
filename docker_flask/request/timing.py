"""The first handler: measures the time of each request, and counts the requests.

This runs at each request: every line costs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from docker_flask.request.exchange import Exchange, Handler, WayOut
from docker_flask.request.wsgi_types import Environ, StartResponse, Wsgi
from docker_flask.worker.watchdog import Watchdog


def timed(
    handler: Handler, watch: Watchdog, count: Callable[[], None], way_out: tuple[WayOut, ...]
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
