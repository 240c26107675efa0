"""The last handler, which calls the application."""

import sys
from collections.abc import Iterable
from select import poll

from docker_flask.worker.middleware.exchange import Exchange, Handler
from docker_flask.worker.middleware.wsgi_types import Wsgi


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


def for_clients(handler: Handler) -> Handler:
    """Leaves out requests whose client has left; the thread of the server calls this.

    Under too much load, a worker would otherwise process only such requests. A check takes less
    than a microsecond.
    """
    uwsgi = sys.modules.get("uwsgi")
    if not uwsgi:
        return handler

    def handle(exchange: Exchange) -> Iterable[bytes]:
        peer = poll()
        peer.register(uwsgi.connection_fd(), 0)  # the kernel always reports a closed peer
        if peer.poll(0):
            exchange.start("499 Client Closed Request", [])
            return []
        return handler(exchange)

    return handle
