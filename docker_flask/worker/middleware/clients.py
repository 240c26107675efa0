"""Leaves out requests whose client has left.

Under too much load, a worker would otherwise process only such requests.
"""

import sys
from collections.abc import Iterable
from select import poll
from time import monotonic

from docker_flask.worker.middleware.exchange import Exchange, Handler

# Seconds after a look in which a worker serves requests without another one. A look costs as much
# as a tenth of the image's own part in a small request; a client that left costs no more than this.
PAUSE = 0.005


def clients(handler: Handler) -> Handler:
    """Looks whether the client is there, as the thread of uWSGI that serves the request."""
    uwsgi = sys.modules.get("uwsgi")
    if not uwsgi:
        return handler
    next_look = 0.0

    def handle(exchange: Exchange) -> Iterable[bytes]:
        nonlocal next_look
        now = monotonic()
        if now < next_look:
            return handler(exchange)
        peer = poll()
        peer.register(uwsgi.connection_fd(), 0)  # the kernel always reports a closed peer
        if peer.poll(0):  # the next one is looked at, too: requests that waited come together
            exchange.respond("499 Client Closed Request")
            return []
        next_look = now + PAUSE
        return handler(exchange)

    return handle
