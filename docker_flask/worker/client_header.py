"""The client's address for an application server that speaks HTTP with nginx.

nginx and the server use a unix socket, so the server knows neither the client's address nor the
scheme and name that the client used. nginx sends these in a header. The supervisor chooses the
header's name at random at each start, so that no client can send it.
"""

from __future__ import annotations

from collections.abc import Iterable

from docker_flask.worker.wsgi_types import Environ, StartResponse, Wsgi

# The header's values, in the order of nginx.conf.
_NAMES = (
    *("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme"),
    *("SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REQUEST_URI"),
)


class ClientHeader:
    """Wraps an application, and gives it the environment that it has behind uWSGI.

    header: the name of nginx's header.
    """

    def __init__(self, application: Wsgi, header: str) -> None:
        self._application = application
        self._key = f"HTTP_{header.upper().replace('-', '_')}"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if values := environ.pop(self._key, ""):
            environ.update(zip(_NAMES, values.split(" ", len(_NAMES) - 1), strict=True))
        return self._application(environ, start_response)
