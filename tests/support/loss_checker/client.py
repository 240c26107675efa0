"""The load client: numbered requests over raw HTTP/1.1, none ever retried, a verdict for each.

It works on plain non-blocking sockets under asyncio instead of on asyncio's streams, because a
verdict needs what those hide: the errno, whether a byte had been sent, which end hung up first.

    python3 -m tests.support.loss_checker.client --url http://127.0.0.1/ --mode new --rate 4000 \\
        --seconds 10 --out result.json

SIGTERM and SIGINT end the load early: no new requests, and those in flight are waited for, each
within its own timeout. Then the result is written and one JSON line with its summary printed.

What an answer must look like (see app.py): `id=<id>` on the first line, for a POST a later line
`received=<bytes of the body>`, and TRAILER as the very last line.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import json
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from tests.support.loss_checker.response import BadResponseError, Response
from tests.support.loss_checker.result import Record, Result, Verdict

TRAILER = b"\nend-of-answer\n"
RECV_BYTES = 65536
BURST = 32  # requests begun in a row before answers are looked at again
REFUSED_PAUSE = 0.01  # s; a refusal costs nothing: without a pause a closed loop counts only those
STOP_FILE_INTERVAL = 0.05  # s

# Failures of connect() that speak of the client's own host and not of the server.
OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True)
class Settings:
    """One load. Give either `rate` (steady, whatever the server does) or `connections`."""

    url: str  # http://host[:port]/path[?query]; the id is added to the query
    mode: str = "new"  # "new": a connection for each request; "keepalive": reused while possible
    method: str = "GET"  # "GET" or "POST"
    rate: float | None = None  # requests begun per second
    connections: int | None = None  # this many at a time, each as fast as answers come
    seconds: float = 10.0  # how long requests are begun
    requests: int | None = None  # no more than this many
    body_bytes: int = 0  # of a POST
    body_type: str = "bytes"  # "bytes" or "json"
    timeout: float = 10.0  # s for one request, from its real beginning
    send_delay: float = 0.0  # s between being connected and sending, as a slow client has it
    echo: bool = True  # whether answers must look as described above; if not, any whole 200 is ok
    until_file: str | None = None  # stop as soon as this file exists

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.connections is None):
            raise ValueError("give either a rate or a number of connections")
        if min(self.rate or self.connections or 0, self.seconds, self.timeout) <= 0:
            raise ValueError("rate, connections, seconds and timeout must be above 0")
        if self.mode not in ("new", "keepalive") or self.method not in ("GET", "POST"):
            raise ValueError(f"unknown mode {self.mode!r} or method {self.method!r}")
        if self.body_type not in ("bytes", "json") or self.body_bytes < 0:
            raise ValueError(f"unknown type {self.body_type!r} or size {self.body_bytes} of a body")
        if self.method == "POST" and self.body_type == "json" and self.body_bytes < 2:
            raise ValueError("no JSON document is shorter than the 2 bytes of an empty string")
        if urlsplit(self.url).scheme != "http" or not urlsplit(self.url).hostname:
            raise ValueError(f"not an http:// URL: {self.url!r}")


def run(settings: Settings) -> Result:
    """Run one load to its end and return its result."""
    return asyncio.run(run_load(settings))


async def run_load(settings: Settings, stop: asyncio.Event | None = None) -> Result:
    """The same within a running event loop; setting `stop` ends it early."""
    return await _Load(settings, stop or asyncio.Event()).run()


class _Load:
    """Begins requests at the right times, keeps idle connections, collects records."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self.settings = settings
        self.stop = stop
        self.loop = asyncio.get_running_loop()
        self.family, self.address = _resolve(settings.url)
        self.template = RequestTemplate(settings)
        self.records: list[Record] = []
        self.idle: list[_Connection] = []
        self.idle_closes = 0
        self.idle_strays = 0
        self._ids = _unique_ids()
        self._begun = 0
        self._in_flight = 0
        self._launching = True
        self._finished = asyncio.Event()

    async def run(self) -> Result:
        """Begin requests until it is time to stop, wait for the last answer, sum up."""
        began = monotonic()
        if self.settings.rate is not None:
            self._tick(began, 0)
        else:
            for _ in range(self.settings.connections or 0):
                self._next()
        watcher = self.loop.create_task(self._watch_stop_file())
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), self.settings.seconds)
        watcher.cancel()
        self._launching = False
        self._check_finished()
        await self._finished.wait()
        for connection in self.idle:
            connection.close()
        return Result(
            settings=[asdict(self.settings)],
            began=began,
            ended=monotonic(),
            records=self.records,
            idle_closes=self.idle_closes,
            idle_strays=self.idle_strays,
        )

    def _tick(self, began: float, number: int) -> None:
        """Steady rate: begin every request that is due by now, come back for the next.

        Due times follow from the number alone, so that neither the server nor a late wake-up of
        this process can lower the load that is offered.
        """
        period = 1 / (self.settings.rate or 1)
        due = began + number * period
        for _ in range(BURST):
            if due > monotonic() or not self._may_begin():
                break
            self._begin(due)
            number += 1
            due = began + number * period
        if self._may_begin():
            self.loop.call_at(due, self._tick, began, number)

    def _next(self) -> None:
        """Closed loop: begin one request; another follows when it has its verdict."""
        if self._may_begin():
            self._begin(monotonic())

    def _may_begin(self) -> bool:
        if self._begun == self.settings.requests:
            self.stop.set()
            self._launching = False
        return self._launching

    def _begin(self, due: float) -> None:
        self._begun += 1
        self._in_flight += 1
        connection = self._kept_connection() or _Connection(self)
        connection.begin(next(self._ids), due)

    def _kept_connection(self) -> _Connection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_alive():
                return connection
        return None

    def finished(self, record: Record) -> None:
        """A request has its verdict (called by its connection)."""
        self.records.append(record)
        self._in_flight -= 1
        if not self._launching:
            self._check_finished()
        elif self.settings.connections is not None:
            if record.sent:
                self.loop.call_soon(self._next)
            else:
                self.loop.call_later(REFUSED_PAUSE, self._next)

    def _check_finished(self) -> None:
        if self._in_flight == 0:
            self._finished.set()

    async def _watch_stop_file(self) -> None:
        if self.settings.until_file is None:
            return
        path = Path(self.settings.until_file)
        while not path.exists():
            await asyncio.sleep(STOP_FILE_INTERVAL)
        self.stop.set()


class _Connection:
    """One TCP connection and the one request that it carries at a time.

    connect -> (send_delay) -> send -> receive -> verdict -> closed, or idle until the next request.
    Everything that ends a connection is seen by the reader, and only there turned into a verdict:
    a failed send may still have an answer waiting that explains it.
    """

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._loop = load.loop
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None  # None: idle, or closed
        self._port = 0
        self._reused = False

    def begin(self, ident: str, due: float) -> None:
        """Start the request `ident`, due at `due` (s, monotonic); ends in _Load.finished()."""
        self._id = ident
        self._due = due
        self._start = monotonic()
        self._unsent = memoryview(self._load.template.fill(ident))
        self._sent = False
        self._send_error = ""
        self._connect_ms: float | None = None
        self._response = Response()
        self._timer = self._loop.call_later(self._load.settings.timeout, self._timed_out)
        if self._sock is None:
            self._connect()
        else:
            self._send()

    def is_alive(self) -> bool:
        """Whether an idle connection can still be used; if not, it is closed and counted."""
        assert self._sock is not None
        try:
            stray = self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            stray = b""
        if stray:
            self._load.idle_strays += 1
        else:
            self._load.idle_closes += 1
        self.close()
        return False

    def close(self) -> None:
        """Give the connection up."""
        if self._sock is None:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        self._sock = None

    def _connect(self) -> None:
        try:
            self._sock = socket.socket(self._load.family, socket.SOCK_STREAM)
        except OSError as error:
            self._finish(Verdict.CLIENT_ERROR, _name(error.errno))
            return
        self._sock.setblocking(False)
        # The event loop is told of the number: looking up an unknown socket object, as each new
        # one is at first, makes the selector format its repr, which costs more than the request.
        self._fd = self._sock.fileno()
        # The request is one piece; the last bytes of a large one must not wait for an ACK.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._sock.connect_ex(self._load.address)
        if code in (0, errno.EINPROGRESS):
            self._port = self._sock.getsockname()[1]
            self._loop.add_writer(self._fd, self._connected)
        else:
            self._connect_failed(code)

    def _connected(self) -> None:
        """connect() has come to an end, good or bad."""
        assert self._sock is not None
        if code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._connect_failed(code)
            return
        self._connect_ms = (monotonic() - self._start) * 1000
        self._loop.add_reader(self._fd, self._readable)
        if self._load.settings.send_delay:
            self._loop.remove_writer(self._fd)
            self._loop.call_later(self._load.settings.send_delay, self._send_if_still, self._id)
        else:
            self._send()

    def _connect_failed(self, code: int) -> None:
        if code == errno.ECONNREFUSED:
            verdict = Verdict.REFUSED
        elif code == errno.ETIMEDOUT:
            verdict = Verdict.TIMEOUT
        elif code in OWN_LIMITS:
            verdict = Verdict.CLIENT_ERROR
        else:
            verdict = Verdict.RESET_UNSENT
        self._finish(verdict, _name(code))

    def _send_if_still(self, ident: str) -> None:
        """After send_delay: send, unless the connection ended in the meantime."""
        if self._timer is not None and self._id == ident:
            self._send()

    def _send(self) -> None:
        """Hand what is left of the request to the kernel, as far as it takes it."""
        assert self._sock is not None
        try:
            taken = self._sock.send(self._unsent)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            # The reader is about to see the same, and what the server may have said before.
            self._send_error = _name(error.errno)
            self._loop.remove_writer(self._fd)
            return
        self._sent = self._sent or taken > 0
        self._unsent = self._unsent[taken:]
        if self._unsent:
            self._loop.add_writer(self._fd, self._send)
        else:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        assert self._sock is not None
        if self._timer is None:
            if not self.is_alive():
                self._load.idle.remove(self)
            return
        try:
            data = self._sock.recv(RECV_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._hung_up(_name(error.errno))
            return
        if not data:
            self._response.end()
            self._hung_up(self._send_error or "EOF")
            return
        try:
            self._response.feed(data)
        except BadResponseError as error:
            self._finish(Verdict.UNEXPECTED, str(error))
            return
        if self._response.complete:
            self._finish(self._check_answer())

    def _hung_up(self, how: str) -> None:
        """The connection has ended under a request; `how` is an errno's name or "EOF"."""
        if self._response.complete:
            self._finish(self._check_answer())
        elif self._response.status is not None:
            self._finish(Verdict.CUT_SHORT, how)
        elif self._sent:
            self._finish(Verdict.RESET_SENT, how)
        else:
            self._finish(Verdict.RESET_UNSENT, how)

    def _timed_out(self) -> None:
        if self._connect_ms is None and not self._reused:
            phase = "connect"
        elif self._unsent:
            phase = "send"
        else:
            phase = "head" if self._response.status is None else "body"
        self._finish(Verdict.TIMEOUT, phase)

    def _check_answer(self) -> Verdict:
        settings = self._load.settings
        posted = settings.body_bytes if settings.method == "POST" else None
        return check_answer(self._response, self._id if settings.echo else None, posted)

    def _finish(self, verdict: Verdict, detail: str = "") -> None:
        """Note the verdict; keep the connection if both sides want that, else close it."""
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        response = self._response
        record = Record(
            id=self._id,
            verdict=verdict,
            status=response.status,
            start=round(self._due, 6),
            late_ms=round((self._start - self._due) * 1000, 3),
            connect_ms=None if self._connect_ms is None else round(self._connect_ms, 3),
            latency_ms=round((monotonic() - self._due) * 1000, 3),
            port=self._port,
            sent=self._sent,
            reused=self._reused,
            detail=detail,
        )
        kept = self._load.settings.mode == "keepalive" and response.keep_alive
        if kept and response.complete and not self._unsent and verdict != Verdict.UNEXPECTED:
            self._reused = True
            self._load.idle.append(self)
        else:
            self.close()
        self._load.finished(record)


class RequestTemplate:
    """The bytes of a request, built once, into which only the id is put each time."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.url)
        target = (url.path or "/") + (f"?{url.query}&" if url.query else "?")
        body = _body(settings) if settings.method == "POST" else b""
        headers = [f"Host: {url.netloc}", "User-Agent: judge"]
        if settings.mode == "new":
            headers.append("Connection: close")
        if settings.method == "POST":
            kind = "json" if settings.body_type == "json" else "octet-stream"
            headers += [f"Content-Type: application/{kind}", f"Content-Length: {len(body)}"]
        self._before = f"{settings.method} {target}id=".encode()
        self._between = " HTTP/1.1\r\n{}\r\nX-Request-Id: ".format("\r\n".join(headers)).encode()
        self._after = b"\r\n\r\n" + body

    def fill(self, ident: str) -> bytes:
        """The whole request with this id."""
        encoded = ident.encode()
        return b"".join((self._before, encoded, self._between, encoded, self._after))


def check_answer(response: Response, ident: str | None, posted: int | None) -> Verdict:
    """The verdict on a complete response to the request `ident` that sent `posted` body bytes.

    `ident` None: the body of a 200 is not looked at; `posted` None: there was no body to send.
    """
    status = response.status or 0
    if status == 503 and b"retry-after" in response.headers:
        return Verdict.RETRY_LATER
    if 500 <= status <= 599:
        return Verdict.ERROR_5XX
    if 400 <= status <= 499:
        return Verdict.ERROR_4XX
    if status != 200:
        return Verdict.UNEXPECTED
    return Verdict.OK if ident is None else _check_body(response.body, ident, posted)


def _check_body(body: bytearray, ident: str, posted: int | None) -> Verdict:
    first_line = b"id=%b\n" % ident.encode()
    if not body.startswith(first_line):
        # Too short to tell whose it is: something between server and client shortened it.
        return Verdict.CUT_SHORT if first_line.startswith(body) else Verdict.WRONG_BODY
    if not body.endswith(TRAILER):
        return Verdict.CUT_SHORT
    if posted is not None and b"\nreceived=%d\n" % posted not in body:
        return Verdict.WRONG_BODY
    return Verdict.OK


def _body(settings: Settings) -> bytes:
    if settings.body_type == "json":
        # A JSON document of any size: one string.
        return b'"' + b"x" * (settings.body_bytes - 2) + b'"'
    return b"x" * settings.body_bytes


def _unique_ids() -> Iterator[str]:
    """Ids that no other load shares, in the order in which requests are begun."""
    prefix = secrets.token_hex(5)
    return (f"{prefix}-{number}" for number in count())


def _resolve(url: str) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and address of the URL's host, looked up once and not while the load runs."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


def _name(code: int | None) -> str:
    return errno.errorcode.get(code or 0, f"errno {code}")


async def _run_until_signal(settings: Settings) -> Result:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run_load(settings, stop)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.support.loss_checker.client",
        description="Numbered HTTP requests, none retried, a verdict for each.",
    )
    parser.add_argument("--url", required=True, help="http://host[:port]/path[?query]")
    parser.add_argument("--mode", choices=("new", "keepalive"), default="new")
    parser.add_argument("--method", choices=("GET", "POST"), default="GET")
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument("--rate", type=float, help="requests per second, steady")
    load.add_argument("--connections", type=int, help="this many, each as fast as it goes")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to begin requests")
    parser.add_argument("--requests", type=int, help="begin no more than this many")
    parser.add_argument("--body-bytes", type=int, default=0, help="size of a POST's body")
    parser.add_argument("--body-type", choices=("bytes", "json"), default="bytes")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one request")
    parser.add_argument(
        "--send-delay", type=float, default=0.0, help="seconds between being connected and sending"
    )
    parser.add_argument(
        "--no-echo", dest="echo", action="store_false", help="take any whole 200 for ok"
    )
    parser.add_argument("--until-file", help="stop as soon as this file exists")
    parser.add_argument("--out", type=Path, help="where to write all records (JSON)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when the load was run, whatever the verdicts are."""
    options = vars(_parse(arguments))
    out = options.pop("out")
    # A server that stalls makes a steady load hold one descriptor for each request it delays.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Walking over hundreds of thousands of records would show up as latency of the server.
    gc.disable()
    result = asyncio.run(_run_until_signal(Settings(**options)))
    if out is not None:
        result.dump(out)
    print(json.dumps(result.summary()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
