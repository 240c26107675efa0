"""Who is connected, as the kernel counts it, and the last connections of a container that stops."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the workers, who ask for less, need not load it
    from docker_flask.loop import Loop

_ESTABLISHED = "01"
_LISTENING_FLAG = "00010000"  # SO_ACCEPTCON
# What a listening socket reports in tcp_info as "unacked" is the length of its queue
# (tcp_get_info in net/ipv4/tcp.c): the fifth 32-bit number after eight bytes.
_UNACKED_OFFSET = 24
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nstopping\n"
)


def to_socket(path: Path) -> int:
    """Connections to a listening unix socket that wait or are being served.

    The kernel lists each under the path of the socket that accepts it.
    """
    return sum(
        words[-1] == str(path) and words[3] != _LISTENING_FLAG
        for words in (line.split() for line in _lines("/proc/net/unix"))
    )


def to_port(port: int) -> int:
    """TCP connections that clients have open to a port of this container."""
    wanted = f"{port:04X}"
    return sum(
        words[1].rpartition(":")[2] == wanted and words[3] == _ESTABLISHED
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for words in (line.split() for line in _lines(table))
    )


def queued(listener: socket.socket) -> int:
    """Connections that wait in a listening TCP socket's queue."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, _UNACKED_OFFSET)[0])


def anyone_waits(listener: int) -> bool:
    """True if a connection stands in this listening socket's queue: its descriptor can be read."""
    queue = select.poll()
    queue.register(listener, select.POLLIN)
    return bool(queue.poll(0))


class LastCall:
    """Closes listening sockets without losing whoever stands in their queues.

    nginx closes its copy without a look at the queue, and the kernel would reset those who wait
    there. So the queue is made as short as can be, nginx is told to go, and who came in between
    is told to try again: 503 with Retry-After.
    """

    def __init__(self, listeners: list[socket.socket], loop: Loop) -> None:
        self._listeners = listeners
        self._loop = loop
        self._told: list[socket.socket] = []

    def close(self, quit_nginx: Callable[[], None]) -> None:
        """Take the last connections, and refuse all from then on."""
        for listener in self._listeners:
            # From here on the kernel drops who would have to wait behind another.
            listener.listen(0)
        self._loop.wait(lambda: not any(map(queued, self._listeners)), 0.2, tick=0.002)
        quit_nginx()
        for listener in self._listeners:
            self._loop.watch(listener, partial(self._turn_away, listener))
        # nginx takes a moment to let go; until the kernel has nobody left to hand over.
        self._loop.wait(lambda: False, 0.05)
        for listener in self._listeners:
            self._loop.forget(listener)
            self._turn_away(listener)
            listener.close()
        # A socket closed with unread bytes is reset, and the answer may be lost with it.
        self._loop.wait(lambda: not self._told, 0.1, tick=0.005)
        for connection in list(self._told):
            self._hang_up(connection)

    def _turn_away(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(_BUSY)
                    connection.shutdown(socket.SHUT_WR)
                self._told.append(connection)
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
        self._told.remove(connection)
        connection.close()


def _lines(path: str) -> list[str]:
    """The lines of a kernel table without its heading; none where the kernel lacks it."""
    try:
        return Path(path).read_text().splitlines()[1:]
    except OSError:
        return []
