"""Closes the listening sockets at a stop, without loss of the connections in their queues."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import partial

from docker_flask import connections
from docker_flask.first_process.loop import Loop

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


class ListenerDrain:
    """Refuses new connections, lets nginx accept the queued ones, then closes the sockets.

    nginx closes its copy of a listening socket without accepting the queue, and the kernel resets
    the connections in the queue. The drain therefore waits until the queue is empty. Connections
    that are left get a 503 with Retry-After.
    """

    def __init__(self, listeners: list[socket.socket], loop: Loop) -> None:
        self._listeners = listeners
        self._loop = loop
        self._open: set[socket.socket] = set()
        self._rejected = 0

    def close(self, quit_nginx: Callable[[], None], seconds: float) -> int:
        """Close the sockets; returns how many clients got a 503.

        seconds: the timeout for nginx to accept all connections in the queue.
        """
        for listener in self._listeners:
            _refuse(listener)
        ports = {listener.getsockname()[1] for listener in self._listeners}
        self._loop.wait(
            lambda: not any(map(connections.half_open_to_port, ports)),
            _HANDSHAKE_TIMEOUT,
            tick=0.01,
        )
        self._loop.wait(
            lambda: not any(map(connections.queued, self._listeners)), seconds, tick=0.002
        )
        quit_nginx()
        for listener in self._listeners:
            self._loop.watch(listener, partial(self._reject, listener))
        self._loop.wait(lambda: False, _NGINX_TIMEOUT)
        for listener in self._listeners:
            self._loop.forget(listener)
            self._reject(listener)
            listener.close()
        # The kernel resets a connection that is closed with unread bytes: the client may lose the
        # 503.
        self._loop.wait(lambda: not self._open, _READ_TIMEOUT, tick=0.005)
        for connection in list(self._open):
            self._close_connection(connection)
        return self._rejected

    def _reject(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                connection, _ = listener.accept()
                self._rejected += 1
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(_RESPONSE_503)
                    connection.shutdown(socket.SHUT_WR)
                self._open.add(connection)
                self._loop.watch(connection, partial(self._discard, connection))

    def _discard(self, connection: socket.socket) -> None:
        try:
            if connection.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close_connection(connection)

    def _close_connection(self, connection: socket.socket) -> None:
        self._loop.forget(connection)
        self._open.remove(connection)
        connection.close()


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
