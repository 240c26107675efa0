"""The TCP sockets that a container listens on; the supervisor binds and owns them."""

import contextlib
import errno
import os
import socket

_TCP_NOTSENT_LOWAT = 25
# Connections inherit these from the listening socket.
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    # Bytes that the kernel takes for a client beyond those on their way to it. By default, it would
    # take megabytes for each client that reads slowly, all at once: ip-sysctl.rst.
    (socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, 128 << 10),
    # After a minute without data, the kernel asks four times, every 15 seconds, whether the client
    # is still there. It ends the WebSockets of dead clients.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
)


def everywhere(port: int) -> list[tuple[str, int]]:
    """A port on all IPv4 and IPv6 addresses."""
    return [("0.0.0.0", port), ("::", port)]  # noqa: S104 (of the container's own network)


def bind(addresses: list[tuple[str, int]]) -> list[socket.socket]:
    """Bind these hosts and ports; all IPv6 addresses only if there is IPv6.

    Connections are refused until `listen`. Raises OSError when a port can't be bound.
    """
    listeners: list[socket.socket] = []
    for host, port in addresses:
        try:
            listeners.append(_bind(host, port))
        except OSError as error:
            # The kernel has no IPv6, or its interfaces have none.
            if host == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue
            for listener in listeners:
                listener.close()
            raise
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
    return [written(*listener.getsockname()[:2]) for listener in listeners]


def written(host: str, port: int) -> str:
    """An address in nginx's format."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for level, option, value in _OPTIONS:
        listener.setsockopt(level, option, value)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, port))
    # nginx inherits this flag, and would block in accept() on an empty queue.
    listener.setblocking(False)
    return listener
