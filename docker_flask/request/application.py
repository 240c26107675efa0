"""The last handler, which calls the application."""

import sys
from collections.abc import Iterable
from select import poll

from docker_flask.request.exchange import Exchange, Handler
from docker_flask.request.timing import Watch
from docker_flask.request.wsgi_types import Wsgi

# Seconds for which a worker checks all requests after it has found that a client has left.
CHECK_ALL = 5.0


def call(application: Wsgi) -> Handler:
    """Calls the application."""

    def handle(exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        # The user's own nginx.conf may send no REQUEST_URI.
        environ["RAW_URI"] = environ.setdefault("REQUEST_URI", "")
        environ.setdefault("SCRIPT_NAME", "")
        exchange.result = application(environ, exchange.start)
        return exchange.result

    return handle


def for_clients(handler: Handler, watch: Watch) -> Handler:
    """Leaves out requests whose client has left; the thread of the server calls this.

    Under too much load, a worker would otherwise process only such requests. Each check is a system
    call: a worker checks one request per tick of the clock, and all requests for some seconds after
    a client has left.
    """
    uwsgi = sys.modules.get("uwsgi")
    if not uwsgi:
        return handler
    checked = closed = 0.0

    def handle(exchange: Exchange) -> Iterable[bytes]:
        nonlocal checked, closed
        if watch.clock != checked:
            if _is_closed(uwsgi.connection_fd()):
                closed = watch.clock
                exchange.start("499 Client Closed Request", [])
                return []
            if watch.clock - closed > CHECK_ALL:
                checked = watch.clock
        return handler(exchange)

    return handle


def _is_closed(connection: int) -> bool:
    peer = poll()
    peer.register(connection, 0)  # the kernel always reports a closed peer
    return bool(peer.poll(0))
