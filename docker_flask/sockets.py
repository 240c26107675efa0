"""The TCP sockets that a container listens on; the supervisor binds them and keeps them."""

from __future__ import annotations

import contextlib
import socket


def everywhere(port: int) -> list[tuple[str, int]]:
    """A port of all IPv4 and all IPv6 addresses."""
    return [("0.0.0.0", port), ("::", port)]


def bind(places: list[tuple[str, int]]) -> list[socket.socket]:
    """Listening sockets on hosts and ports; IPv6 only where the kernel has it.

    They accept connections into their queue at once; nginx takes them over later.
    Raises OSError when a port can't be bound.
    """
    listeners = []
    for host, port in places:
        if ":" in host:
            with contextlib.suppress(OSError):
                listeners.append(_listen(socket.AF_INET6, (host, port)))
        else:
            listeners.append(_listen(socket.AF_INET, (host, port)))
    return listeners


def ports(listeners: list[socket.socket]) -> list[int]:
    """The ports of listening sockets, each once."""
    return sorted({listener.getsockname()[1] for listener in listeners})


def addresses(listeners: list[socket.socket]) -> list[str]:
    """The addresses of listening sockets as nginx writes them."""
    return [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port, *_ in (listener.getsockname() for listener in listeners)
    ]


def _listen(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
        # nginx takes it as it is, and would hang in accept() with nobody waiting.
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
