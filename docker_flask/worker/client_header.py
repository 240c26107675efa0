"""What an application server that nginx reaches by HTTP leaves to be said, as uWSGI has it.

Between the two is a unix socket, so the server knows neither the client's address nor how that one
came. nginx says both, in a header whose name is made up at each start, so that no client can send
it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable

from docker_flask.worker.guard import Environ, StartResponse, Wsgi

# What nginx.conf has in it, in this order.
_SAID = (
    *("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme"),
    *("SERVER_NAME", "SERVER_PORT", "REQUEST_URI"),
)


class OverHttp:
    """Wraps an application, and gives it the environment that it has behind uWSGI.

    header: the name of nginx's header.
    """

    def __init__(self, application: Wsgi, header: str) -> None:
        self._application = application
        self._key = f"HTTP_{header.upper().replace('-', '_')}"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if said := environ.pop(self._key, ""):
            environ.update(zip(_SAID, said.split(" ", len(_SAID) - 1), strict=True))
            if environ.get("HTTP_HOST") == "":  # Granian's, for a request without one
                del environ["HTTP_HOST"]
        return self._application(environ, start_response)
