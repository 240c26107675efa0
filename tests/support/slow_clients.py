"""Many slow clients, and a good one whose requests are measured meanwhile.

    python3 -m tests.support.slow_clients --kind bodies --clients 4000 --seconds 20

Kinds: `headers` and `bodies` are sent a byte at a time. Of a `static` file and of a `dynamic`
response (6 MB, also by `range`, `if-match` and `post`), of a `medium` one (300 KB), of a `page`
(120 KB) and of a compressed `text`, the client reads a little at a time. A handshake of HTTPS is
`silent`, ends within its first message (`half-hello`), or after it (`hello`). A client that is
refused or closed comes back after ten seconds. The clients have several addresses of the loopback
network. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import selectors
import socket
import ssl
import threading
import time
from dataclasses import asdict, dataclass, field
from itertools import cycle

# Of a slow client: seconds from one byte to the next, bytes that it reads then, its buffer.
PAUSE, READ, BUFFER = 2.0, 512, 4096
# All come within RAMP seconds: more at once would be a flood, and not slow.
COMES_BACK, RAMP = 10.0, 10.0
ADDRESSES = 40
RATE = 20  # requests of the good client a second
HEAD = "Host: shop.example\r\nUser-Agent: slow\r\n"
START = {
    "headers": f"GET / HTTP/1.1\r\n{HEAD}X-Slow: ",
    "bodies": f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 1000000\r\n\r\n" + "x" * 1000,
    "static": f"GET /static/large.bin HTTP/1.1\r\n{HEAD}\r\n",
    "dynamic": f"GET /large HTTP/1.1\r\n{HEAD}\r\n",
    "range": f"GET /large HTTP/1.1\r\n{HEAD}Range: bytes=0-\r\n\r\n",
    "if-match": f'GET /large HTTP/1.1\r\n{HEAD}If-Match: "a"\r\n\r\n',
    "post": f"POST /large HTTP/1.1\r\n{HEAD}Content-Length: 0\r\n\r\n",
    "medium": f"GET /medium HTTP/1.1\r\n{HEAD}\r\n",
    "page": f"GET /page HTTP/1.1\r\n{HEAD}\r\n",
    "text": f"GET /text HTTP/1.1\r\n{HEAD}Accept-Encoding: gzip\r\n\r\n",
}


def trustful() -> ssl.SSLContext:
    """For the test's own container."""
    return ssl._create_unverified_context()  # noqa: S323


def hello() -> bytes:
    """The first message of a handshake."""
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trustful().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="shop.example").do_handshake()
    return sent.read()


HANDSHAKES = {"silent": b"", "half-hello": hello()[:100], "hello": hello()}


@dataclass
class Measured:
    """What the good client saw: how often each status, milliseconds; how many were slow."""

    statuses: dict[str, int] = field(default_factory=dict)
    p95: float = 0
    p99: float = 0
    open_clients: int = 0


class SlowClients:
    """Connections of one kind from some addresses."""

    def __init__(self, kind: str, count: int, ramp: float) -> None:
        self._kind = kind
        self._server = ("127.0.0.1", 443 if kind in HANDSHAKES else 80)
        self._start = HANDSHAKES.get(kind) or START.get(kind, "").encode()
        self._selector = selectors.DefaultSelector()
        self._sources = cycle(f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(ADDRESSES))
        self._due: list[tuple[float, socket.socket | None]] = [
            (time.monotonic() + ramp * n / count, None) for n in range(count)
        ]
        self.open: set[socket.socket] = set()

    def run(self, until: float) -> None:
        """Be slow until this time."""
        while (now := time.monotonic()) < until:
            later = []
            for moment, client in self._due:
                if moment > now:
                    later.append((moment, client))
                elif client is None:
                    self._connect(later)
                elif client in self.open:
                    later.append((now + PAUSE, client))
                    self._trickle(client)
            self._due = later
            for key, _ in self._selector.select(0.05):
                self._look(key.fileobj)  # type: ignore[arg-type]
        for client in list(self.open):
            self._leave(client)

    def _connect(self, later: list[tuple[float, socket.socket | None]]) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        client.settimeout(1)
        try:
            client.bind((next(self._sources), 0))
            client.connect(self._server)
            client.sendall(self._start)
        except OSError:
            client.close()
            later.append((time.monotonic() + COMES_BACK, None))
            return
        client.setblocking(False)
        self.open.add(client)
        if self._kind in ("headers", "bodies"):
            self._selector.register(client, selectors.EVENT_READ)
        later.append((time.monotonic() + PAUSE, client))

    def _trickle(self, client: socket.socket) -> None:
        """Send or read a little."""
        try:
            if self._kind in ("headers", "bodies"):
                client.send(b"x")
            elif not client.recv(READ):
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self._again(client)

    def _look(self, client: socket.socket) -> None:
        """The server responds before the request is complete, or closes the connection."""
        with contextlib.suppress(OSError):
            client.recv(READ)
        self._again(client)

    def _again(self, client: socket.socket) -> None:
        self._leave(client)
        self._due.append((time.monotonic() + COMES_BACK, None))

    def _leave(self, client: socket.socket) -> None:
        self.open.discard(client)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client)
        client.close()


def request(kind: str) -> tuple[str, float]:
    """A request on a connection of its own: its status, or what failed, and its milliseconds."""
    begun = time.monotonic()
    answer = b""
    try:
        port = 443 if kind in HANDSHAKES else 80
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            if port == 443:
                client = stack.enter_context(trustful().wrap_socket(client))
            client.sendall(b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
            while block := client.recv(65536):
                answer += block
        status = answer.split(b" ", 2)[1].decode()
    except (OSError, IndexError) as error:
        status = type(error).__name__
    return status, (time.monotonic() - begun) * 1000


def measure(kind: str, count: int, seconds: float) -> Measured:
    """Let the good client send its requests while the slow ones are there."""
    until = time.monotonic() + seconds
    ramp = min(RAMP, seconds / 4)
    slow = SlowClients(kind, count, ramp)
    thread = threading.Thread(target=slow.run, args=(until,))
    thread.start()
    result, times = Measured(), list[float]()
    while time.monotonic() < until - 0.5:
        next_one = time.monotonic() + 1 / RATE
        status, took = request(kind)
        result.statuses[status] = result.statuses.get(status, 0) + 1
        times.append(took)
        time.sleep(max(0, next_one - time.monotonic()))
    result.open_clients = len(slow.open)
    thread.join()
    result.p95 = sorted(times)[int(len(times) * 0.95)]
    result.p99 = sorted(times)[int(len(times) * 0.99)]
    return result


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=[*START, *HANDSHAKES], required=True)
    parser.add_argument("--clients", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(asdict(measure(given.kind, given.clients, given.seconds))))


if __name__ == "__main__":
    main()
