"""The ports of process 1: a socket for commands, and one for probes over HTTP.

Process 1 responds itself, so the response depends neither on nginx nor on a free worker, and is
available from the first moment on. This module knows nothing of the service.
"""

import contextlib
import re
import selectors
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from docker_flask.shared.loop import Loop
from docker_flask.shared.paths import CONTROL_SOCKET, OK
from docker_flask.shared.sockets import listen_unix

# Clients whose request or response is not complete, bytes of a request, and bytes of all responses
# that clients have not read yet.
MAX_CLIENTS, MAX_REQUEST, MAX_UNREAD = 64, 4096, 16 << 20


class Clients:
    """Accepts clients, and gives each complete request to `on_request`, which calls `respond`.

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
        # What each client has sent, or still has to get; the oldest client first.
        self._clients: dict[socket.socket, bytes] = {}
        for listener in listeners:
            loop.watch(listener, partial(self._on_connection, listener))

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # the client has gone
            return
        client.setblocking(False)
        self._add(client, b"", self._on_data, selectors.EVENT_READ)

    def respond(self, client: socket.socket, response: bytes) -> None:
        """Send a response and close the client; later, what the kernel does not take at once."""
        try:
            response = response[client.send(response) :]
        except BlockingIOError:
            pass
        except OSError:  # the client has gone
            response = b""
        if response:
            self._add(client, response, self._on_writable, selectors.EVENT_WRITE)
        else:
            client.close()

    def _on_writable(self, client: socket.socket) -> None:
        self.respond(client, self._remove(client))

    def _add(
        self,
        client: socket.socket,
        data: bytes,
        callback: Callable[[socket.socket], None],
        events: int,
    ) -> None:
        self._clients[client] = data
        self._loop.watch(client, partial(callback, client), events)
        clients = self._clients
        while len(clients) > MAX_CLIENTS or sum(map(len, clients.values())) > MAX_UNREAD:
            oldest = next(iter(clients))
            self._remove(oldest)
            oldest.close()

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

    def _remove(self, client: socket.socket) -> bytes:
        self._loop.forget(client)
        return self._clients.pop(client)


def answer_commands(
    folder: Path, loop: Loop, commands: Mapping[str, Callable[[Callable[[str], None]], None]]
) -> None:
    """Answer one word with one line. A command gets a function to respond with, now or later."""
    known = {"health": lambda answer: answer(OK), **commands}

    def on_word(client: socket.socket, request: bytes) -> None:
        def answer(line: str) -> None:
            clients.respond(client, line.encode() + b"\n")

        word = request.decode(errors="replace").strip()
        if word not in known:
            answer(f"unknown command: {word[:64]!r}")
            return
        try:
            known[word](answer)
        except Exception:
            answer("internal error; the log has a traceback")
            raise

    clients = Clients(loop, [listen_unix(str(folder / CONTROL_SOCKET))], b"\n", on_word)


def answer_probes(
    listeners: list[socket.socket],
    loop: Loop,
    pages: Mapping[str, Callable[[], str]],
    texts: Mapping[str, Callable[[Callable[[str], None]], None]] = MappingProxyType({}),
) -> None:
    """Answer GET and HEAD of a few pages, one request per connection.

    pages: for each path, a function that returns the problem, empty if there is none. texts: for
    each path, a function that gets a function to respond with, now or later.
    """

    def on_request(client: socket.socket, request: bytes) -> None:
        method, _, rest = request.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = re.split(r"[? ]", rest)[0]

        def answer(text: str, status: str = "200 OK") -> None:
            clients.respond(client, _response(status, text, with_body=method != "HEAD"))

        if method not in ("GET", "HEAD"):
            answer("use GET or HEAD\n", "405 Method Not Allowed")
        elif path in texts:
            texts[path](answer)
        elif path not in pages:
            answer(f"there are {', '.join([*pages, *texts])}\n", "404 Not Found")
        elif problem := pages[path]():
            answer(f"{problem}\n", "503 Service Unavailable")
        else:
            answer("ok\n")

    clients = Clients(loop, listeners, b"\r\n\r\n", on_request)


def _response(status: str, text: str, with_body: bool) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
