"""Closes the listening sockets of a container that stops, and loses nobody in their queues."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import partial

from docker_flask import connections
from docker_flask.loop import Loop

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nstopping\n"
)
# From asm-generic/socket.h; Python has no name for it.
_SO_BINDTOIFINDEX = 62
_NO_INTERFACE = 0x7FFFFFFF
# The longest waits in seconds: for clients to finish their handshakes, for nginx to close its copy
# of a listening socket, for clients to read a 503.
_HANDSHAKES, _LET_GO, _ANSWERS = 0.2, 0.05, 0.1


class ListenerDrain:
    """Refuses new connections, lets nginx accept those that wait, then closes the sockets.

    nginx closes its copy of a listening socket without a look at the queue, and the kernel resets
    every connection that still waits there. The drain therefore empties the queue first. Whoever
    is left in it gets a 503 with Retry-After.
    """

    def __init__(self, listeners: list[socket.socket], loop: Loop) -> None:
        self._listeners = listeners
        self._loop = loop
        self._open: set[socket.socket] = set()
        self._turned_away = 0

    def close(self, quit_nginx: Callable[[], None], patience: float) -> int:
        """Close the sockets; returns how many clients got a 503.

        patience: how many seconds nginx gets to accept all connections in the queue.
        """
        for listener in self._listeners:
            _refuse(listener)
        ports = {listener.getsockname()[1] for listener in self._listeners}
        self._loop.wait(
            lambda: not any(map(connections.half_open_to_port, ports)), _HANDSHAKES, tick=0.01
        )
        self._loop.wait(
            lambda: not any(map(connections.queued, self._listeners)), patience, tick=0.002
        )
        quit_nginx()
        for listener in self._listeners:
            self._loop.watch(listener, partial(self._turn_away, listener))
        self._loop.wait(lambda: False, _LET_GO)
        for listener in self._listeners:
            self._loop.forget(listener)
            self._turn_away(listener)
            listener.close()
        # A socket closed with unread bytes is reset, and its client may lose the answer.
        self._loop.wait(lambda: not self._open, _ANSWERS, tick=0.005)
        for connection in list(self._open):
            self._hang_up(connection)
        return self._turned_away

    def _turn_away(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                connection, _ = listener.accept()
                self._turned_away += 1
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(_BUSY)
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
        self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        self._loop.forget(connection)
        self._open.remove(connection)
        connection.close()


def _refuse(listener: socket.socket) -> None:
    """Let the kernel refuse new connections; those in the queue stay there.

    A socket that is bound to an interface hears from no other one. Linux 5.7 and later allow this
    to every process. Elsewhere, the kernel drops whoever would wait behind another in the queue.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)
    except OSError:
        listener.listen(0)
