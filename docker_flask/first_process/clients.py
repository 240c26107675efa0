"""Clients that send one short request each; bounded in number and in size."""

import contextlib
import socket
from collections.abc import Callable
from functools import partial

from docker_flask.first_process.loop import Loop

# Clients whose request is not complete, and bytes of a request.
MAX_CLIENTS, MAX_REQUEST = 64, 4096


class Clients:
    """Accepts clients, and gives each complete request to `on_request`, which closes the client.

    If too many clients are silent or slow, the oldest one is closed: a new client is always served.
    """

    def __init__(
        self,
        loop: Loop,
        listeners: list[socket.socket],
        end: bytes,
        on_request: Callable[[socket.socket, bytes], None],
    ) -> None:
        """end: the end of a request."""
        self._loop = loop
        self._end = end
        self._on_request = on_request
        # What each client has sent, the oldest client first.
        self._clients: dict[socket.socket, bytes] = {}
        for listener in listeners:
            loop.watch(listener, partial(self._on_connection, listener))

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # the client has gone
            return
        if len(self._clients) >= MAX_CLIENTS:
            oldest = next(iter(self._clients))
            self._remove(oldest)
            oldest.close()
        client.setblocking(False)
        self._clients[client] = b""
        self._loop.watch(client, partial(self._on_data, client))

    def _on_data(self, client: socket.socket) -> None:
        part = b""
        with contextlib.suppress(OSError):
            part = client.recv(MAX_REQUEST)
        received = self._clients[client] + part
        if part and self._end not in received and len(received) < MAX_REQUEST:
            self._clients[client] = received
            return
        self._remove(client)
        if part:
            self._on_request(client, received)
        else:
            client.close()

    def _remove(self, client: socket.socket) -> None:
        self._loop.forget(client)
        del self._clients[client]
