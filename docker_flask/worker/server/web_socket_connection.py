"""Stands in for the socket of a WebSocket's connection, and for the list of its messages."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from docker_flask.shared.log import log
from docker_flask.worker.server import frames
from docker_flask.worker.server.greenlets import unpatched

# Seconds that nginx gets to close its end; between two tries to send.
LINGER, TICK = 2.0, 0.01
BLOCK = 1 << 16
# Seconds for which a client waits while the view receives nothing; bytes that Python needs for a
# message besides its text.
PATIENCE, OVERHEAD = 10.0, 100


class Connection:
    """Stands in for the socket of a request; a library uses it like the socket itself.

    A library sends whole frames: a close frame may follow each of its calls.
    on_use: is called once, when the connection is used; it calls `open`, or raises OSError.
    largest: bytes of a message, 0 for no limit. has_left: the client got a close frame.
    """

    def __init__(self, descriptor: int, largest: int) -> None:
        self.on_use: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._socket: Any = None
        self._sending = threading.Lock()
        self._messages = frames.Messages(largest)
        self.largest = largest
        # The library has responded to the handshake: a close frame before would be no response.
        self._has_responded = False
        self.has_left = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._used(), name)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def open(self) -> None:
        """Make the socket; before, the server may still use the connection."""
        self._socket = socket.socket(fileno=self._descriptor)
        self._socket.settimeout(None)  # uWSGI's is nonblocking

    def send(self, data: bytes, *_flags: int) -> int:
        """Send all data, as a blocking socket does."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes, *_flags: int) -> None:
        """Send all data; after the close frame, nothing."""
        connection = self._used()
        with self._sending:
            if self.has_left:
                return
            try:
                connection.sendall(data)
                self._has_responded = True
            except OSError:
                # As with TCP, data is lost in silence until the library has read the end.
                time.sleep(TICK)

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive data; the end of the connection if a message is too large."""
        data: bytes = self._used().recv(size, *flags)
        if self._messages.fit(data):
            return data
        log(
            f"closed a WebSocket, because a message has more than {self.largest:,} bytes: set "
            "WEBSOCKET_MAX_MESSAGE for larger ones"
        )
        with self._sending:
            self._send_close(frames.TOO_BIG)
        self.close()
        return b""

    def give_up(self) -> None:
        """Close the connection of a view that does not receive what its client sends."""
        if not self.has_left:
            log("closed a WebSocket: its client sends messages, and the view does not receive them")
            self.leave(frames.POLICY_VIOLATION)

    def close(self) -> None:
        """End the connection; the descriptor stays until the view has ended."""
        with contextlib.suppress(OSError):
            self._used().shutdown(socket.SHUT_WR)

    def leave(self, code: int = frames.GOING_AWAY) -> bool:
        """Send a close frame; returns False if the client does not read, or has no response yet."""
        if self._has_responded and self._sending.acquire(blocking=False):
            try:
                self._send_close(code)
            finally:
                self._sending.release()
        return self.has_left

    def cut(self) -> None:
        """End the connection for client and view."""
        self.has_left = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close the connection after the view; unread data would reset it before its end."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while poll.poll(LINGER * 1000):
                # The library may have been faster.
                with contextlib.suppress(BlockingIOError), self._raw() as raw:
                    if not raw.recv(BLOCK, socket.MSG_DONTWAIT):
                        break
        self.cut()
        self._socket.close()

    def _used(self) -> Any:
        if not self._socket:
            self.on_use()
        return self._socket

    @contextlib.contextmanager
    def _raw(self) -> Iterator[socket.socket]:
        """The socket without gevent: does not wait, and another greenlet may use its own."""
        raw = unpatched("socket", "socket")(fileno=self._descriptor)
        try:
            yield raw
        finally:
            raw.detach()

    def _send_close(self, code: int) -> None:
        try:
            with self._raw() as raw:
                raw.send(frames.close(code), socket.MSG_DONTWAIT)
        except BlockingIOError:  # the client reads nothing
            return
        except OSError:
            pass
        self.has_left = True


def bound_messages(library: ModuleType) -> None:
    """Let each connection of simple_websocket.ws have an `UnreadMessages` in place of its list."""
    shake_hands = library.Server.handshake

    def handshake(self: Any) -> None:
        shake_hands(self)
        if isinstance(self.sock, Connection):
            self.input_buffer = UnreadMessages(self.sock)

    library.Server.handshake = handshake


class UnreadMessages(list[str | bytes]):
    """A list that a thread of simple-websocket's appends to, and that the view pops from.

    The library reads all the time. If the view only sends, or is slower than the client, its own
    list would take all memory.

    It takes as many bytes as one message may have. Beyond that, `append` waits for the view, and
    the kernel lets the client wait. After PATIENCE, the connection is closed, with code 1008.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._bytes = 0

    def append(self, message: str | bytes) -> None:
        """Raises ConnectionAbortedError, with which the library ends the connection."""
        size, received, waited = len(message) + OVERHEAD, self._bytes, 0.0
        while self and 0 < self._connection.largest < self._bytes + size:
            if self._connection.has_left or waited > PATIENCE:
                self._connection.give_up()
                raise ConnectionAbortedError
            time.sleep(TICK)
            waited = 0.0 if self._bytes < received else waited + TICK
            received = self._bytes
        self._bytes += size
        super().append(message)

    def pop(self, index: Any = -1) -> str | bytes:
        message = super().pop(index)
        self._bytes -= len(message) + OVERHEAD
        return message
