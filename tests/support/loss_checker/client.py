"""The load client: numbered requests over raw HTTP/1.1, none ever retried, a verdict for each.

It uses non-blocking sockets instead of asyncio's streams, because a verdict needs the errno, and
whether a byte had been sent.

    python3 -m tests.support.loss_checker.client '{"url": "http://127.0.0.1/", "rate": 300}' OUT

SIGTERM ends the load: the client sends no new requests, waits for those in flight, and writes the
result to OUT.

A response (see app.py) has `id=<id>` on the first line, for a POST a later line
`received=<bytes of the body>`, and TRAILER as the last line.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import resource
import secrets
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from tests.support.loss_checker.response import BadResponseError, Response
from tests.support.loss_checker.result import Record, Result, Verdict

TRAILER = b"\nend-of-answer\n"
RECV_BYTES = 65536
BURST = 32  # requests begun in a row before responses are read again
REFUSED_PAUSE = 0.01  # s; without a pause a closed loop counts only refusals

# Failures of connect() that come from the client's own host and not from the server.
OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True)
class Settings:
    """One load. Give either `rate` (steady, whatever the server does) or `connections`."""

    url: str  # http://host[:port]/path[?query]; the id is added to the query
    mode: str = "new"  # "new": a connection for each request; "keepalive": reused while possible
    method: str = "GET"
    rate: float | None = None  # requests begun per second
    connections: int | None = None  # this many at a time, each as fast as responses come
    seconds: float = 10.0  # how long requests are begun
    requests: int | None = None  # no more than this many
    body_bytes: int = 0
    timeout: float = 10.0  # s for one request
    send_delay: float = 0.0  # s between being connected and sending, like a slow client
    no_echo: bool = False  # any whole 200 is ok, whatever its body


def run(settings: Settings) -> Result:
    """Run one load to its end and return its result."""
    return asyncio.run(Load(settings).run())


class Load:
    """Begins requests at the right times, keeps idle connections, collects records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = asyncio.Event()
        url = urlsplit(settings.url)
        found = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
        self.family, self.address = found[0][0], found[0][4]
        self.idle: list[socket.socket] = []
        self._request = _request_template(settings)
        self._records: list[Record] = []
        self._prefix = secrets.token_hex(5)  # no other load has the same ids
        self._begun = 0
        self._numbers = count()

    async def run(self) -> Result:
        """Begin requests until it is time to stop, wait for the last response."""
        began, loop = monotonic(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        print("the load begins", flush=True)
        limit = loop.call_later(self.settings.seconds, self.stop.set)
        async with asyncio.TaskGroup() as tasks:
            if self.settings.rate is not None:
                tasks.create_task(self._steady_rate(tasks, began, 1 / self.settings.rate))
            for _ in range(self.settings.connections or 0):
                tasks.create_task(self._closed_loop())
        # A load that ends by itself may be asked to end while it writes its result.
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        limit.cancel()
        for sock in self.idle:
            sock.close()
        return Result(began, monotonic(), self._records)

    async def _steady_rate(self, tasks: asyncio.TaskGroup, began: float, period: float) -> None:
        """Begin every request that is due.

        Due times follow from the number alone: neither the server nor a late wake-up of this
        process lowers the load.
        """
        for number in count():
            due = began + number * period
            if (early := due - monotonic()) > 0:
                await asyncio.sleep(early)
            elif number % BURST == 0:
                await asyncio.sleep(0)
            if not self._may_begin():
                return
            tasks.create_task(self._exchange(due))

    async def _closed_loop(self) -> None:
        """Begin a request as soon as the one before has its verdict."""
        while self._may_begin():
            record = await self._exchange(monotonic())
            if not record.sent:
                await asyncio.sleep(REFUSED_PAUSE)

    def _may_begin(self) -> bool:
        if self.stop.is_set() or self._begun == self.settings.requests:
            return False
        self._begun += 1
        return True

    async def _exchange(self, due: float) -> Record:
        """Send one request, due at `due` (s, monotonic), and note its verdict."""
        ident = f"{self._prefix}-{next(self._numbers)}"
        start = monotonic()
        exchange = Exchange(self, ident, self._request.replace(b"{id}", ident.encode()))
        verdict, detail = await exchange.run()
        record = Record(
            id=ident,
            verdict=verdict,
            status=exchange.response.status,
            start=round(due, 6),
            late_ms=round((start - due) * 1000, 3),
            latency_ms=round((monotonic() - due) * 1000, 3),
            port=exchange.port,
            sent=exchange.sent,
            reused=exchange.reused,
            detail=detail,
        )
        self._records.append(record)
        return record

    def kept_connection(self) -> socket.socket | None:
        """An idle connection that can be used again; others are closed."""
        while self.idle:
            sock = self.idle.pop()
            try:
                sock.recv(1, socket.MSG_PEEK)  # the server closed it, or sent unasked bytes
            except BlockingIOError:
                return sock
            except OSError:
                pass
            sock.close()
        return None


class Exchange:
    """One request and its response: connect, (send_delay,) send, receive, verdict."""

    def __init__(self, load: Load, ident: str, request: bytes) -> None:
        self.response = Response()
        self.port = 0
        self.sent = False
        self._load = load
        self._id = ident
        self._request = request
        self._phase = "connect"
        self._send_error = ""
        self._loop = asyncio.get_running_loop()
        self._sock = load.kept_connection()
        self.reused = self._sock is not None

    async def run(self) -> tuple[Verdict, str]:
        """The verdict, and what ended the request: "EOF", an errno's name, a phase, ..."""
        settings, verdict, detail = self._load.settings, Verdict.UNEXPECTED, ""
        try:
            async with asyncio.timeout(settings.timeout):
                await self._talk(settings.send_delay)
            verdict = check_response(self.response, self._id, settings)
        except TimeoutError:
            verdict, detail = Verdict.TIMEOUT, self._phase
        except BadResponseError as error:
            detail = str(error)
        except OSError as error:
            verdict, detail = self._broken(error)
        if self._sock is not None:
            keep = settings.mode == "keepalive" and self.response.keep_alive
            if keep and self.response.complete and verdict != Verdict.UNEXPECTED:
                self._load.idle.append(self._sock)
            else:
                self._sock.close()
        return verdict, detail

    async def _talk(self, send_delay: float) -> None:
        if self._sock is None:
            self._sock = socket.socket(self._load.family, socket.SOCK_STREAM)
            self._sock.setblocking(False)
            # The last bytes of a large request must not wait for an ACK.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(self._sock, self._load.address)
        self.port = self._sock.getsockname()[1]
        self._phase = "send"
        if send_delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._receive(self._sock), send_delay)
        try:
            taken = self._sock.send(self._request)
            self.sent = taken > 0
            if taken < len(self._request):
                await self._loop.sock_sendall(self._sock, memoryview(self._request)[taken:])
        except OSError as error:
            # The server may have sent a response before it hung up.
            self._send_error = errno.errorcode[error.errno or 0]
        self._phase = "head"
        await self._receive(self._sock)

    async def _receive(self, sock: socket.socket) -> None:
        while not self.response.complete:
            data = await self._loop.sock_recv(sock, RECV_BYTES)
            if data:
                self.response.feed(data)
            else:
                self.response.end()
                if not self.response.complete:
                    raise ConnectionError("EOF")
            self._phase = "head" if self.response.status is None else "body"

    def _broken(self, error: OSError) -> tuple[Verdict, str]:
        """The verdict on a connection that has ended under a request."""
        detail = errno.errorcode.get(error.errno or 0) or self._send_error or "EOF"
        if self._phase == "connect" and error.errno == errno.ECONNREFUSED:
            return Verdict.REFUSED, detail
        if self._phase == "connect" and error.errno in OWN_LIMITS:
            return Verdict.CLIENT_ERROR, detail
        if self.response.status is not None:
            return Verdict.CUT_SHORT, detail
        return Verdict.RESET_SENT if self.sent else Verdict.RESET_UNSENT, detail


def _request_template(settings: Settings) -> bytes:
    """The bytes of a request, with {id} in place of its id."""
    url = urlsplit(settings.url)
    query = f"{url.query}&" if url.query else ""
    body = b"x" * settings.body_bytes if settings.method == "POST" else b""
    lines = [
        f"{settings.method} {url.path or '/'}?{query}id={{id}} HTTP/1.1",
        f"Host: {url.netloc}",
    ]
    if settings.mode == "new":
        lines.append("Connection: close")
    if settings.method == "POST":
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def check_response(response: Response, ident: str, settings: Settings) -> Verdict:
    """The verdict on a complete response to the request `ident`."""
    status = response.status or 0
    if status == 503 and b"retry-after" in response.headers:
        return Verdict.RETRY_LATER
    if 500 <= status <= 599:
        return Verdict.ERROR_5XX
    if 400 <= status <= 499:
        return Verdict.ERROR_4XX
    if status != 200:
        return Verdict.UNEXPECTED
    if settings.no_echo:
        return Verdict.OK
    body, first_line = response.body, b"id=%b\n" % ident.encode()
    if not body.startswith(first_line):
        # Too short to tell whose it is: something between server and client shortened it.
        return Verdict.CUT_SHORT if first_line.startswith(body) else Verdict.WRONG_BODY
    if not body.endswith(TRAILER):
        return Verdict.CUT_SHORT
    if settings.method == "POST" and b"\nreceived=%d\n" % settings.body_bytes not in body:
        return Verdict.WRONG_BODY
    return Verdict.OK


def main(settings: str, out: str) -> None:
    """The command line: settings as JSON, and where the result goes."""
    # A server that stalls makes a steady load hold one descriptor for each request it delays.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A garbage collection over hundreds of thousands of records would look like latency.
    gc.disable()
    run(Settings(**json.loads(settings))).dump(Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
