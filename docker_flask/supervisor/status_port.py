"""The status port: tells orchestrators, over HTTP, whether the container lives and is ready.

The supervisor answers itself, so the answer does not depend on nginx or on a free worker, and is
there from the first moment on.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial

from docker_flask.first_process.loop import Loop

# A probe is one short request. A client that sends more, or that is slower (s), gets no answer; so
# many clients may be connected at a time.
MAX_REQUEST, MAX_SECONDS, MAX_CLIENTS = 4096, 5.0, 64


class StatusPort:
    """checks: for each path, a function that returns the problem; empty if there is none."""

    def __init__(
        self, listeners: list[socket.socket], loop: Loop, checks: Mapping[str, Callable[[], str]]
    ) -> None:
        self._loop = loop
        self._checks = checks
        # The clients, the oldest first: what each has sent, and since when it is connected.
        self._clients: dict[socket.socket, tuple[bytes, float]] = {}
        for listener in listeners:
            loop.watch(listener, partial(self._on_connection, listener))

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the client has gone
            return
        now = time.monotonic()
        for old, (_, since) in list(self._clients.items()):
            if now - since > MAX_SECONDS or len(self._clients) >= MAX_CLIENTS:
                self._close(old)
        client.setblocking(False)
        self._clients[client] = b"", now
        self._loop.watch(client, partial(self._on_data, client))

    def _on_data(self, client: socket.socket) -> None:
        received, since = self._clients[client]
        try:
            part = client.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        received += part
        if part and b"\r\n\r\n" not in received and len(received) < MAX_REQUEST:
            self._clients[client] = received, since
            return
        if part:
            with contextlib.suppress(
                OSError
            ):  # the kernel takes these few bytes, or the client left
                client.send(self._response(received))
        self._close(client)

    def _close(self, client: socket.socket) -> None:
        self._loop.forget(client)
        del self._clients[client]
        client.close()

    def _response(self, request: bytes) -> bytes:
        line = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return _http("400 Bad Request", "not an HTTP request", "GET")
        method, path = line[0], line[1].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _http(
                "405 Method Not Allowed", "use GET or HEAD", method, "Allow: GET, HEAD\r\n"
            )
        if path not in self._checks:
            return _http("404 Not Found", f"there are {', '.join(self._checks)}", method)
        problem = self._checks[path]()
        return _http("503 Service Unavailable" if problem else "200 OK", problem or "ok", method)


def _http(status: str, text: str, method: str, headers: str = "") -> bytes:
    body = "" if method == "HEAD" else f"{text}\n"
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text) + 1}\r\n"
        f"Cache-Control: no-store\r\n{headers}Connection: close\r\n\r\n{body}"
    ).encode()
