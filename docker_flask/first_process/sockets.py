"""The TCP sockets that a container listens on; the supervisor binds and owns them."""

from __future__ import annotations

import contextlib
import os
import socket

# Bytes that the kernel takes for a client beyond those on their way to it. Every connection has
# this from the listening socket: tcp_notsent_lowat in the kernel's ip-sysctl.rst. By default, it
# would take megabytes for each client that reads slowly, all at once.
TCP_NOTSENT_LOWAT, UNSENT = 25, 128 << 10
# After these seconds without data, the kernel asks whether the client is still there; how often;
# the seconds between two questions. Connections inherit this from the listening socket. It ends
# the WebSockets of dead clients.
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPCNT: 4, socket.TCP_KEEPINTVL: 15}


def everywhere(port: int) -> list[tuple[str, int]]:
    """A port on all IPv4 and IPv6 addresses."""
    return [("0.0.0.0", port), ("::", port)]  # noqa: S104 (of the container's own network)


def bind(addresses: list[tuple[str, int]]) -> list[socket.socket]:
    """Bind these hosts and ports; IPv6 only if the kernel supports it.

    Connections are refused until `listen`. Raises OSError when a port can't be bound.
    """
    listeners = []
    for host, port in addresses:
        if ":" in host:
            with contextlib.suppress(OSError):
                listeners.append(_bind(socket.AF_INET6, (host, port)))
        else:
            listeners.append(_bind(socket.AF_INET, (host, port)))
    return listeners


def listen(listeners: list[socket.socket]) -> None:
    """Let connections wait in the sockets' queues until they are accepted; raises OSError."""
    for listener in listeners:
        listener.listen(socket.SOMAXCONN)


def listen_unix(path: str, backlog: int = socket.SOMAXCONN) -> socket.socket:
    """Listen on a path, for this user and group only; replaces what is there."""
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    os.chmod(path, 0o660)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def ports(listeners: list[socket.socket]) -> list[int]:
    """The ports of listening sockets, without duplicates."""
    return sorted({listener.getsockname()[1] for listener in listeners})


def addresses(listeners: list[socket.socket]) -> list[str]:
    """The addresses of listening sockets in nginx's format."""
    return [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port, *_ in (listener.getsockname() for listener in listeners)
    ]


def _bind(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        # nginx inherits this flag, and would block in accept() on an empty queue.
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
