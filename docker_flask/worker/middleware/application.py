"""The last handler, which calls the application."""

from collections.abc import Iterable
from itertools import chain

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
        if exchange.written:
            return chain(exchange.written, exchange.result)
        return exchange.result

    return handle
