"""The handlers between a worker's server and the application, in their order."""

from collections.abc import Callable
from functools import partial

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware.application import call
from docker_flask.worker.middleware.body import bodies
from docker_flask.worker.middleware.clients import clients
from docker_flask.worker.middleware.exchange import Handler, Watch
from docker_flask.worker.middleware.files import files
from docker_flask.worker.middleware.proxies import TrustedProxies
from docker_flask.worker.middleware.responses import responses
from docker_flask.worker.middleware.streams import streams
from docker_flask.worker.middleware.wsgi_types import Wsgi


def chain(
    application: Wsgi,
    options: WorkerOptions,
    watch: Watch,
    count: Callable[[], None],
    handshakes: Callable[[Handler], Handler] | None,
) -> Wsgi:
    """The callable for the server; handshakes: None if there are no WebSockets.

    A request passes the list from its first line to the last one, and the response passes it back.
    Each handler calls the next one, and may change what it passes on, both ways. `responses` is
    before the list and `call` behind it, because the server and the application speak WSGI.
    """
    handlers: list[Callable[[Handler], Handler] | None] = [
        clients,
        bodies,
        streams,
        partial(files, location=options.sendfile_location) if options.sendfile_location else None,
        handshakes,
    ]
    if options.trusted_proxies:
        application = TrustedProxies(application, options.trusted_proxies)
    handler = call(application)
    for wrap in filter(None, reversed(handlers)):
        handler = wrap(handler)
    return responses(handler, watch, count)
