"""Copies the X-Forwarded-* headers of trusted proxies into the WSGI environment, in both modes.

The peer of the connection decides. If the peer is no trusted proxy, the headers are dropped, so
that nobody can deceive an application that reads these headers itself.

Afterwards each header has one value, the same as in the environment. An application with its own
ProxyFix, for any number of proxies, gets the same result. X-Forwarded-For and X-Forwarded-Proto
are always set; the other headers if a trusted proxy sent them.

The last value of a list counts, because the nearest proxy added it; the values before may come
from the client. In X-Forwarded-For, the last address that is no trusted proxy counts.
"""

import ipaddress
from collections.abc import Iterable

from docker_flask.request import forwarded
from docker_flask.request.forwarded import Address
from docker_flask.request.wsgi_types import Environ, StartResponse, Wsgi

NAMES = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "PROTO", "HOST", "PORT", "PREFIX"))
# Other headers with the same meaning.
DROPPED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_SSL", "HTTP_X_REAL_IP")
# Proxies in a row that are trusted: an entry of X-Forwarded-For costs 8 us, and a client can send
# thousands of them.
MAX_HOPS = 20


class TrustedProxies:
    """Wraps an application; trusted: networks."""

    def __init__(self, application: Wsgi, trusted: Iterable[str]) -> None:
        self._application = application
        self._trusted = [ipaddress.ip_network(text) for text in trusted]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        __traceback_hide__ = True  # noqa: F841  # from Werkzeug's debugger: not the user's code
        environ = environ.copy()  # the callers keep the real peer and host
        hops, *others = [environ.pop(name, "") for name in (*NAMES, *DROPPED)]
        # Of the connection to this container; uWSGI copies X-Forwarded-Proto from any client.
        environ["wsgi.url_scheme"] = "https" if environ.get("HTTPS") else "http"
        peer = forwarded.address(environ["REMOTE_ADDR"])
        if peer and self._trusts(peer):
            environ["REMOTE_ADDR"] = str(self._client(peer, hops))
            scheme, host, port, prefix, *_ = map(forwarded.last, others)
            if scheme.lower() in forwarded.DEFAULT_PORTS:
                environ["wsgi.url_scheme"] = scheme.lower()
            forwarded.set_host(environ, host, port)
            forwarded.set_prefix(environ, prefix)
        environ["HTTP_X_FORWARDED_FOR"] = environ["REMOTE_ADDR"]
        environ["HTTP_X_FORWARDED_PROTO"] = environ["wsgi.url_scheme"]
        return self._application(environ, start_response)

    def _client(self, peer: Address, hops: str) -> Address:
        """The client's address: follow X-Forwarded-For backwards, through trusted proxies only.

        The search ends at a word that is no address (`unknown`), or after MAX_HOPS. nginx does the
        same for its log, without this limit.
        """
        client = peer
        for entry in reversed(hops.replace(",", " ").split()[-MAX_HOPS:]):
            address = forwarded.address(entry) if self._trusts(client) else None
            if not address:
                break
            client = address
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)
