"""Bounds the messages of a WebSocket that its view has not received.

simple-websocket (of Flask-Sock and Flask-SocketIO) reads all the time into a list. If the view only
sends, or is slower than the client, the list would take all memory.
"""

import time
from types import ModuleType
from typing import Any

from docker_flask.worker.web_socket_connection import TICK, Connection

# Seconds for which a client waits while the view receives nothing; bytes that Python needs for a
# message besides its text.
PATIENCE, OVERHEAD = 10.0, 100


def bound(library: ModuleType) -> None:
    """Let each connection of simple_websocket.ws have an `UnreadMessages` in place of its list."""
    shake_hands = library.Server.handshake

    def handshake(self: Any) -> None:
        shake_hands(self)
        if isinstance(self.sock, Connection):
            self.input_buffer = UnreadMessages(self.sock)

    library.Server.handshake = handshake


class UnreadMessages(list[str | bytes]):
    """A list that a thread of the library's appends to, and that the view pops from.

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
