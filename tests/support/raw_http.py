"""HTTP as bytes: sends what no library sends, and reads answers as strictly as a client can."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-9][0-9]{2})( [^\x00-\x08\x0a-\x1f\x7f]*)?")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class Ambiguous(AssertionError):
    """Bytes that two clients could read in two ways."""


@dataclass(frozen=True)
class Answer:
    """One answer; complete: False if the connection ended within it, as the client can see."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool = True

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def values(self, name: str) -> list[str]:
        """Those of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def exchange(port: int, *parts: bytes, seconds: float = 5, end: bool = True) -> bytes:
    """Send bytes, in these packets, and return all that comes until the server closes.

    end: the client sends no more after this.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        with suppress(ConnectionError, TimeoutError):  # the server may refuse what it has read
            for part in parts:
                client.sendall(part)
            if end:
                client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError, TimeoutError):
            while block := client.recv(1 << 16):
                received += block
    return received


def answers(data: bytes, methods: str = "GET") -> Iterator[Answer]:
    """The answers in the bytes of a connection, to requests with these methods.

    Raises Ambiguous for bytes that are no answer.
    """
    names = iter(methods.split())
    while data:
        method = next(names, "GET")
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            raise Ambiguous(f"no end of the headers: {data[:200]!r}")
        first, *lines = head.split(b"\r\n")
        status_line = STATUS_LINE.fullmatch(first)
        pairs = [pair for line in lines if (pair := HEADER_LINE.fullmatch(line))]
        if not status_line or len(pairs) < len(lines):
            raise Ambiguous(f"bad headers: {head[:500]!r}")
        headers = tuple((pair[1].decode(), pair[2].decode("latin-1")) for pair in pairs)
        status = int(status_line[1])
        answer = Answer(status, headers, b"")
        lengths, chunked = answer.values("Content-Length"), answer.values("Transfer-Encoding")
        if len(lengths) + len(chunked) > 1 or chunked not in ([], ["chunked"]):
            raise Ambiguous(f"lengths {lengths} and {chunked}: {head[:500]!r}")
        if method == "HEAD" or status in (204, 304):
            body, data, complete = b"", rest, True
        elif lengths:
            length = int(lengths[0])
            body, data = rest[:length], rest[length:]
            complete = len(body) == length
        elif chunked:
            body, data, complete = _chunks(rest)
        else:
            body, data, complete = rest, b"", True
        yield Answer(status, headers, body, complete)
        if not complete:
            return


def _chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """The body in chunks, what follows it, and whether it is complete."""
    body = b""
    while True:
        size, found, data = data.partition(b"\r\n")
        if not found:
            return body, b"", False
        if not re.fullmatch(rb"[0-9a-f]+", size):
            raise Ambiguous(f"bad size of a chunk: {size[:100]!r}")
        length = int(size, 16)
        chunk, end, data = data[:length], data[length : length + 2], data[length + 2 :]
        if end not in (b"\r\n", b"\r", b""):
            raise Ambiguous(f"bad end of a chunk: {end!r}")
        body += chunk
        if end != b"\r\n" or (length and len(chunk) < length):
            return body, b"", False
        if not length:
            return body, data, True
