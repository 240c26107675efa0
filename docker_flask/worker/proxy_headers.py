"""Puts what trusted proxies in front say of a request, X-Forwarded-*, where WSGI has it.

Runs in the application's Python, in both modes alike; standard library only. The peer of the
connection decides: what anybody else says is dropped, so that an application which reads these
headers itself can't be deceived either.

Afterwards each header says, as its only value, what the environment says, so that an application
with a ProxyFix of its own, for however many proxies, gets the same again. X-Forwarded-For and
X-Forwarded-Proto always stand there; the others if a trusted proxy sent them.

Of a list, the last value counts, which is that of the nearest proxy: those before it may have come
from the client. Of X-Forwarded-For it is the last address that is not a trusted proxy's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from docker_flask.worker.wsgi_types import Environ, StartResponse, Wsgi

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

READ = ("FOR", "PROTO", "HOST", "PORT", "PREFIX")
# Other ways to say the same. A trusted proxy's are the application's business.
NOT_READ = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_SSL", "HTTP_X_REAL_IP")
DEFAULT_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?", re.ASCII)
# Never two slashes: a redirect to `//some.where` leaves for another server.
_PREFIX = re.compile(r"(/[\w.~:@+-]+)+", re.ASCII)


class TrustedProxies:
    """Wraps an application; trusted: networks."""

    def __init__(self, application: Wsgi, trusted: Iterable[str]) -> None:
        self._application = application
        self._trusted = [ipaddress.ip_network(text) for text in trusted]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        __traceback_hide__ = True  # noqa: F841  # from Werkzeug's debugger: not the user's code
        environ = environ.copy()  # what stands before this still sees the real peer and host
        self._rewrite(environ)
        return self._application(environ, start_response)

    def _rewrite(self, environ: Environ) -> None:
        said = {name: environ.pop(f"HTTP_X_FORWARDED_{name}", "") for name in READ}
        # The container speaks nothing else, but uWSGI believes the header, whoever sent it.
        environ["wsgi.url_scheme"] = "http"
        peer = _address(environ["REMOTE_ADDR"])
        if peer and self._trusts(peer):
            environ["REMOTE_ADDR"] = str(self._client(peer, said["FOR"]))
            _set_scheme(environ, _last(said["PROTO"]))
            _set_host(environ, _last(said["HOST"]), _last(said["PORT"]))
            _set_prefix(environ, _last(said["PREFIX"]))
        else:
            for key in NOT_READ:
                environ.pop(key, None)
        environ["HTTP_X_FORWARDED_FOR"] = environ["REMOTE_ADDR"]
        environ["HTTP_X_FORWARDED_PROTO"] = environ["wsgi.url_scheme"]

    def _client(self, peer: Address, forwarded: str) -> Address:
        """Follow X-Forwarded-For backwards, as far as those who wrote it are trusted.

        It ends before what is no address (`unknown`). nginx does the same for its log.
        """
        client = peer
        for entry in reversed(forwarded.replace(",", " ").split()):
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
    """An address, also with a port as some proxies write it: `1.2.3.4:5678`, `[2001:db8::1]:80`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if "%" in text:  # what follows may be any text
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _set_scheme(environ: Environ, scheme: str) -> None:
    if scheme.lower() in DEFAULT_PORTS:
        environ["wsgi.url_scheme"] = scheme.lower()


def _set_host(environ: Environ, said_host: str, said_port: str) -> None:
    """Host and port as the client has them; without X-Forwarded-Host, from Host."""
    said = _HOST.fullmatch(said_host)
    match = said or _HOST.fullmatch(environ.get("HTTP_HOST", ""))
    if not match:
        return
    name, own_port = match.groups()
    port = _port(said_port) or _port(own_port or "")
    # The default port of the other scheme is that of a proxy behind the one that speaks TLS.
    if not port or port in DEFAULT_PORTS.values():
        port = DEFAULT_PORTS[environ["wsgi.url_scheme"]]
        environ["HTTP_HOST"] = name
    else:
        environ["HTTP_HOST"] = f"{name}:{port}"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
    if said:
        environ["HTTP_X_FORWARDED_HOST"] = environ["HTTP_HOST"]
    if _port(said_port):
        environ["HTTP_X_FORWARDED_PORT"] = port


def _port(text: str) -> str:
    return text if re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= 65535 else ""


def _set_prefix(environ: Environ, prefix: str) -> None:
    """The path under which the proxy offers the application, whether it cuts that off or not."""
    prefix = prefix.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        return
    environ["SCRIPT_NAME"] = environ["HTTP_X_FORWARDED_PREFIX"] = prefix
    path = environ["PATH_INFO"]
    if path == prefix or path.startswith(f"{prefix}/"):
        environ["PATH_INFO"] = path[len(prefix) :]
