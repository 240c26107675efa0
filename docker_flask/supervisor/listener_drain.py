"""Closes the listening sockets at a stop, without loss of the connections in their queues."""

import contextlib
import select
import socket
from collections.abc import Callable, Iterator

from docker_flask.shared.loop import Loop
from docker_flask.supervisor import connections

_RESPONSE_503 = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nstopping\n"
)
# From asm-generic/socket.h; Python has no name for it.
_SO_BINDTOIFINDEX = 62
_NO_INTERFACE = 0x7FFFFFFF
# Timeouts in seconds: for clients to finish their handshakes, for nginx to close its copy of a
# listening socket, for clients to read a 503.
_HANDSHAKE_TIMEOUT, _NGINX_TIMEOUT, _READ_TIMEOUT = 0.2, 0.05, 0.1
_TICK = 0.005


def close_listeners(
    listeners: list[socket.socket],
    loop: Loop,
    quit_nginx: Callable[[], None],
    nginx_runs: Callable[[], object],
    seconds: float,
    tls_port: int = 0,
) -> int:
    """Refuse new connections, let nginx accept the queued ones, then close the sockets.

    nginx closes its copy of a listening socket without accepting the queue, and the kernel resets
    the connections in the queue. So this waits until the queue is empty; seconds: at most.
    Connections that are left get a 503 with Retry-After, those for HTTPS an end; returns how many.
    """
    for listener in listeners:
        _refuse(listener)
    ports = {listener.getsockname()[1] for listener in listeners}

    def handshakes_ended() -> bool:
        return not any(connections.to_port(port, connections.SYN_RECEIVED) for port in ports)

    def queues_are_empty() -> bool:
        return not select.select(listeners, (), (), 0)[0]

    def reject() -> bool:
        for listener in listeners:
            rejected.extend(_reject(listener, listener.getsockname()[1] == tls_port))
        return not nginx_runs()

    loop.wait(handshakes_ended, _HANDSHAKE_TIMEOUT, tick=_TICK)
    loop.wait(queues_are_empty, seconds, tick=_TICK)
    quit_nginx()
    rejected: list[socket.socket] = []
    loop.wait(reject, _NGINX_TIMEOUT, tick=_TICK)
    reject()
    for listener in listeners:
        listener.close()
    # The kernel resets a connection that is closed with unread bytes: the client may lose the 503.
    loop.wait(lambda: sum(map(_has_left, rejected)) == len(rejected), _READ_TIMEOUT, tick=_TICK)
    for client in rejected:
        client.close()
    return len(rejected)


def _reject(listener: socket.socket, is_tls: bool) -> Iterator[socket.socket]:
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while True:
            client, _ = listener.accept()
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.send(b"" if is_tls else _RESPONSE_503)
                client.shutdown(socket.SHUT_WR)
            yield client


def _has_left(client: socket.socket) -> bool:
    """Read what the client has sent; returns True at the end."""
    try:
        return not client.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _refuse(listener: socket.socket) -> None:
    """Let the kernel refuse new connections; queued connections stay in the queue.

    A socket that is bound to an interface gets connections from this interface only; this one does
    not exist. Kernels before Linux 5.7 need privileges for this: there, a backlog of 0 makes the
    kernel drop new connections while the queue is not empty.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)
    except OSError:
        listener.listen(0)
