"""Clients that send one short request each; bounded in number, in size and in time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial

from docker_flask.first_process.loop import Loop

# Clients whose request is not complete, bytes of a request, and seconds for a request.
MAX_CLIENTS, MAX_REQUEST, MAX_SECONDS = 64, 4096, 5.0


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
        # The oldest first: what each client has sent, and since when it is connected.
        self._clients: dict[socket.socket, tuple[bytes, float]] = {}
        for listener in listeners:
            loop.watch(listener, partial(self._on_connection, listener))

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # the client has gone
            return
        now = time.monotonic()
        for old, (_, since) in list(self._clients.items()):
            if now - since > MAX_SECONDS or len(self._clients) >= MAX_CLIENTS:
                self._remove(old)
                old.close()
        client.setblocking(False)
        self._clients[client] = b"", now
        self._loop.watch(client, partial(self._on_data, client))

    def _on_data(self, client: socket.socket) -> None:
        received, since = self._clients[client]
        part = b""
        with contextlib.suppress(OSError):
            part = client.recv(MAX_REQUEST)
        received += part
        if part and self._end not in received and len(received) < MAX_REQUEST:
            self._clients[client] = received, since
            return
        self._remove(client)
        try:
            if part:
                self._on_request(client, received)
            else:
                client.close()
        except BaseException:
            client.close()
            raise

    def _remove(self, client: socket.socket) -> None:
        self._loop.forget(client)
        del self._clients[client]
