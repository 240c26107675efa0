"""A small HTTP server in process 1: GET and HEAD of a few pages, one request per connection.

Process 1 responds itself, so the response depends neither on nginx nor on a free worker, and is
available from the first moment on.
"""

import contextlib
import re
import socket
from collections.abc import Callable, Mapping

from docker_flask.first_process.clients import Clients
from docker_flask.first_process.loop import Loop


class HttpPort:
    """pages: for each path, a function that returns the problem, empty if there is none."""

    def __init__(
        self, listeners: list[socket.socket], loop: Loop, pages: Mapping[str, Callable[[], str]]
    ) -> None:
        self._pages = pages
        Clients(loop, listeners, b"\r\n\r\n", self._on_request)

    def _on_request(self, client: socket.socket, request: bytes) -> None:
        method, status, text = self._respond(request)
        data = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(text) + 1}\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n"
        )
        if method != "HEAD":
            data += f"{text}\n"
        # The kernel takes these few bytes, or the client has gone.
        with contextlib.suppress(OSError):
            client.send(data.encode("ascii", "replace"))
        client.close()

    def _respond(self, request: bytes) -> tuple[str, str, str]:
        """The method of the request, and the status and the text of the response."""
        method, _, rest = request.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = re.split(r"[? ]", rest)[0]
        if method not in ("GET", "HEAD"):
            return method, "405 Method Not Allowed", "use GET or HEAD"
        if path not in self._pages:
            return method, "404 Not Found", f"there are {', '.join(self._pages)}"
        problem = self._pages[path]()
        return method, "503 Service Unavailable" if problem else "200 OK", problem or "ok"
