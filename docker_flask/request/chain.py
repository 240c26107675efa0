"""The order of the handlers between a worker's server and the application.

A request passes the handlers from the last line to the first one. Each handler calls the next one
with the Exchange; those next to the application are WSGI callables. A handler that the container
does not need is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from docker_flask.request.adjust import adjust
from docker_flask.request.body import Bodies
from docker_flask.request.cache import Cache
from docker_flask.request.errors import Errors
from docker_flask.request.exchange import Handler, WayOut
from docker_flask.request.files import Files
from docker_flask.request.parts import Call, Parts
from docker_flask.request.proxies import TrustedProxies
from docker_flask.request.timing import Timing, Watch
from docker_flask.request.web_socket import Handshakes, Take
from docker_flask.request.wsgi_types import Wsgi
from docker_flask.worker_options import WorkerOptions


def chain(
    application: Wsgi,
    options: WorkerOptions,
    watch: Watch,
    count: Callable[[], None],
    take: Take | None,
) -> Wsgi:
    """The callable for the server; take: None if there are no WebSockets."""
    way_out: list[WayOut] = [adjust]
    if options.trusted_proxies:
        application = TrustedProxies(application, options.trusted_proxies)
    if take:
        application = Handshakes(application, take)
    handler: Handler = Call(application).handle
    if options.sendfile_location:
        files = Files(handler, options.sendfile_location)
        handler = files.handle
        way_out.append(files.drop_foreign)
    if options.cache_folder:
        cache = Cache(handler, options)
        handler = cache.handle
        way_out.append(cache.mark)
    handler = Errors(Parts(Bodies(handler).handle).handle).handle
    return Timing(handler, watch, count, tuple(way_out))
