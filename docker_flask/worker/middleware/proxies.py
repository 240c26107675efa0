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
import re
from collections.abc import Iterable

from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAMES = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "PROTO", "HOST", "PORT", "PREFIX"))
# Other headers with the same meaning.
DROPPED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_SSL", "HTTP_X_REAL_IP")
# Proxies in a row that are trusted: an entry of X-Forwarded-For costs 8 us, and a client can send
# thousands of them.
MAX_HOPS = 20
DEFAULT_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?", re.ASCII)
# Never two slashes: a redirect to `//some.where` leads to another server.
_PREFIX = re.compile(r"(/[\w.~:@+-]+)+", re.ASCII)


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
        peer = _address(environ["REMOTE_ADDR"])
        if peer and self._trusts(peer):
            environ["REMOTE_ADDR"] = str(self._client(peer, hops))
            scheme, host, port, prefix, *_ = map(_last, others)
            if scheme.lower() in DEFAULT_PORTS:
                environ["wsgi.url_scheme"] = scheme.lower()
            _set_host(environ, host, port)
            _set_prefix(environ, prefix)
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
            address = _address(entry) if self._trusts(client) else None
            if not address:
                break
            client = address
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _last(values: str) -> str:
    return values.rpartition(",")[2].strip()


def _address(text: str) -> Address | None:
    """An address; some proxies add a port: `1.2.3.4:5678`, `[2001:db8::1]:80`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address("" if "%" in text else text)  # any text may follow a %
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _set_host(environ: Environ, sent_host: str, sent_port: str) -> None:
    """Set the host and port that the client uses; without X-Forwarded-Host, from Host."""
    sent = _HOST.fullmatch(sent_host)
    match = sent or _HOST.fullmatch(environ.get("HTTP_HOST", ""))
    if not match:
        return
    name, own_port = match.groups()
    port = _port(sent_port) or _port(own_port or "")
    host = f"{name}:{port}"
    # The default port of the other scheme belongs to a proxy behind the one that ends TLS.
    if not port or port in DEFAULT_PORTS.values():
        port, host = DEFAULT_PORTS[environ["wsgi.url_scheme"]], name
    environ.update(HTTP_HOST=host, SERVER_NAME=name, SERVER_PORT=port)
    if sent:
        environ["HTTP_X_FORWARDED_HOST"] = host
    if _port(sent_port):
        environ["HTTP_X_FORWARDED_PORT"] = port


def _port(text: str) -> str:
    return text if re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= 65535 else ""


def _set_prefix(environ: Environ, prefix: str) -> None:
    """Set what the proxy has removed from the path; the setting SCRIPT_NAME takes precedence."""
    prefix = prefix.rstrip("/")
    if _PREFIX.fullmatch(prefix) and not environ["SCRIPT_NAME"]:
        environ["SCRIPT_NAME"] = environ["HTTP_X_FORWARDED_PREFIX"] = prefix
