"""The first handler: the server calls it, and it gives the server the response.

Status and headers wait for the first part of the body. If the application fails before, the client
gets a complete 500: no request ends its worker. This runs at each request: every line costs.
"""

import threading
import traceback
from collections.abc import Callable, Iterator

from docker_flask.worker.hooks import permission_hints
from docker_flask.worker.middleware.exchange import Exchange, Handler, Watch, check_bytes
from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi

_FAILED = b"Internal Server Error\n"


def responses(handler: Handler, watch: Watch, count: Callable[[], None]) -> Wsgi:
    """Watches the time of the application, not the time in which the client receives data.

    count: is called at the end of each request.
    """
    # With gevent, the number of a greenlet.
    begin, requests, get_ident = watch.begin, watch.requests, threading.get_ident

    def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        thread = get_ident()
        exchange = Exchange(environ)
        begin(thread, exchange)
        try:
            try:
                parts = handler(exchange)
                if not exchange.is_taken:
                    start_response(exchange.status, exchange.headers)
            except BaseException as error:  # also SystemExit
                parts = _failed(exchange, error)
                # Also in place of headers that the server has refused.
                start_response(exchange.status, exchange.headers)
            exchange.has_begun = True
            for part in parts:
                exchange.silent_since = -watch.clock
                yield part
                exchange.silent_since = watch.clock
            for part in exchange.rest:
                check_bytes(part)
                exchange.silent_since = -watch.clock
                yield part
                exchange.silent_since = watch.clock
        except GeneratorExit:  # the client has left
            raise
        except BaseException as error:
            # The server closes the connection in the middle of the response.
            raise RuntimeError("the application failed within its response") from error
        finally:
            # An application may go on to work when its client has the response.
            exchange.silent_since = 0.0
            try:
                close = getattr(exchange.result, "close", None)
                if close and not exchange.is_taken:
                    close()
            finally:
                requests.pop(thread, None)
                count()

    return application


def _failed(exchange: Exchange, error: BaseException) -> list[bytes]:
    traceback.print_exception(error)
    permission_hints.explain(error)
    length = str(len(_FAILED))
    exchange.respond(
        "500 Internal Server Error", ("Content-Type", "text/plain"), ("Content-Length", length)
    )
    return [_FAILED]
