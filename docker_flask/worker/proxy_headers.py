"""Copies the X-Forwarded-* headers of trusted proxies into the WSGI environment, in both modes.

The peer of the connection decides. If the peer is no trusted proxy, the headers are dropped, so
that nobody can deceive an application that reads these headers itself.

Afterwards each header has one value, the same as in the environment. An application with its own
ProxyFix, for any number of proxies, gets the same result. X-Forwarded-For and X-Forwarded-Proto
are always set; the other headers if a trusted proxy sent them.

The last value of a list counts, because the nearest proxy added it; the values before may come
from the client. In X-Forwarded-For, the last address that is no trusted proxy counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from docker_flask.worker.wsgi_types import Environ, StartResponse, Wsgi

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAMES = ("FOR", "PROTO", "HOST", "PORT", "PREFIX")
# Other headers with the same meaning. The application gets them if a trusted proxy sent them.
OTHER_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_SSL", "HTTP_X_REAL_IP")
DEFAULT_PORTS = {"http": "80", "https": "443"}
# Proxies in a row that are trusted: an entry of X-Forwarded-For costs 8 us, and a client can send
# thousands of them.
MAX_HOPS = 20
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
        self._rewrite(environ)
        return self._application(environ, start_response)

    def _rewrite(self, environ: Environ) -> None:
        sent = {name: environ.pop(f"HTTP_X_FORWARDED_{name}", "") for name in NAMES}
        # The container itself speaks http only, but uWSGI copies this header from any client.
        environ["wsgi.url_scheme"] = "http"
        peer = _address(environ["REMOTE_ADDR"])
        if peer and self._trusts(peer):
            environ["REMOTE_ADDR"] = str(self._client(peer, sent["FOR"]))
            _set_scheme(environ, _last(sent["PROTO"]))
            _set_host(environ, _last(sent["HOST"]), _last(sent["PORT"]))
            _set_prefix(environ, _last(sent["PREFIX"]))
        else:
            for key in OTHER_HEADERS:
                environ.pop(key, None)
        environ["HTTP_X_FORWARDED_FOR"] = environ["REMOTE_ADDR"]
        environ["HTTP_X_FORWARDED_PROTO"] = environ["wsgi.url_scheme"]

    def _client(self, peer: Address, forwarded: str) -> Address:
        """The client's address: follow X-Forwarded-For backwards, through trusted proxies only.

        The search ends at a word that is no address (`unknown`), or after MAX_HOPS. nginx does the
        same for its log, without this limit.
        """
        client = peer
        entries = forwarded.replace(",", " ").rsplit(maxsplit=MAX_HOPS)[-MAX_HOPS:]
        for entry in reversed(entries):
            address = _address(entry)
            if not address:
                break
            client = address
            if not self._trusts(address):
                break
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
    if "%" in text:  # any text may follow
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _set_scheme(environ: Environ, scheme: str) -> None:
    if scheme.lower() in DEFAULT_PORTS:
        environ["wsgi.url_scheme"] = scheme.lower()


def _set_host(environ: Environ, sent_host: str, sent_port: str) -> None:
    """Set the host and port that the client uses; without X-Forwarded-Host, from Host."""
    sent = _HOST.fullmatch(sent_host)
    match = sent or _HOST.fullmatch(environ.get("HTTP_HOST", ""))
    if not match:
        return
    name, own_port = match.groups()
    port = _port(sent_port) or _port(own_port or "")
    # The default port of the other scheme belongs to a proxy behind the one that ends TLS.
    if not port or port in DEFAULT_PORTS.values():
        port = DEFAULT_PORTS[environ["wsgi.url_scheme"]]
        environ["HTTP_HOST"] = name
    else:
        environ["HTTP_HOST"] = f"{name}:{port}"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
    if sent:
        environ["HTTP_X_FORWARDED_HOST"] = environ["HTTP_HOST"]
    if _port(sent_port):
        environ["HTTP_X_FORWARDED_PORT"] = port


def _port(text: str) -> str:
    return text if re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= 65535 else ""


def _set_prefix(environ: Environ, prefix: str) -> None:
    """Set the path of the application at the proxy; the proxy may remove the path or not."""
    prefix = prefix.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        return
    environ["SCRIPT_NAME"] = environ["HTTP_X_FORWARDED_PREFIX"] = prefix
    path = environ["PATH_INFO"]
    if path == prefix or path.startswith(f"{prefix}/"):
        environ["PATH_INFO"] = path[len(prefix) :]
