"""The order of the handlers between a worker's server and the application.

A request passes the handlers from the last line to the first one. Each handler calls the next one
with the Exchange; TrustedProxies is a WSGI callable. A handler that the container does not need is
left out.
"""

from collections.abc import Callable

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware.application import call, for_clients
from docker_flask.worker.middleware.body import bodies
from docker_flask.worker.middleware.exchange import Handler, WayOut
from docker_flask.worker.middleware.files import files
from docker_flask.worker.middleware.proxies import TrustedProxies
from docker_flask.worker.middleware.responses import adjust, respond
from docker_flask.worker.middleware.timing import Watch, timed
from docker_flask.worker.middleware.wsgi_types import Wsgi


def chain(
    application: Wsgi,
    options: WorkerOptions,
    watch: Watch,
    count: Callable[[], None],
    handshakes: Callable[[Handler], Handler] | None,
) -> Wsgi:
    """The callable for the server; handshakes: None if there are no WebSockets."""
    way_out: list[WayOut] = [adjust]
    if options.trusted_proxies:
        application = TrustedProxies(application, options.trusted_proxies)
    handler: Handler = call(application)
    if handshakes:
        handler = handshakes(handler)
    handler = for_clients(handler)
    if options.sendfile_location:
        handler = files(handler, options.sendfile_location)
    return timed(respond(bodies(handler)), watch, count, tuple(way_out))
