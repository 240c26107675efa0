"""Reads the values of X-Forwarded-* headers, and writes them into the WSGI environment."""

import ipaddress
import re

from docker_flask.request.wsgi_types import Environ

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?", re.ASCII)
# Never two slashes: a redirect to `//some.where` leads to another server.
_PREFIX = re.compile(r"(/[\w.~:@+-]+)+", re.ASCII)


def last(values: str) -> str:
    return values.rpartition(",")[2].strip()


def address(text: str) -> Address | None:
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


def set_host(environ: Environ, sent_host: str, sent_port: str) -> None:
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


def set_prefix(environ: Environ, prefix: str) -> None:
    """Set what the proxy has removed from the path; the setting SCRIPT_NAME takes precedence."""
    prefix = prefix.rstrip("/")
    if _PREFIX.fullmatch(prefix) and not environ["SCRIPT_NAME"]:
        environ["SCRIPT_NAME"] = environ["HTTP_X_FORWARDED_PREFIX"] = prefix
