"""The load client: numbered requests over raw HTTP, none ever retried, a verdict for each.

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
import gc
import json
import resource
import secrets
import signal
import socket
import ssl
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from tests.support.loss_checker.channel import Channel
from tests.support.loss_checker.exchange import Exchange, request_template
from tests.support.loss_checker.http2 import STREAMS, Connection, Stream
from tests.support.loss_checker.result import Record, Result

BURST = 32  # requests begun in a row before responses are read again
REFUSED_PAUSE = 0.01  # s; without a pause a closed loop counts only refusals


@dataclass(frozen=True)
class Settings:
    """One load. Give either `rate` (steady, whatever the server does) or `connections`."""

    url: str  # http[s]://host[:port]/path[?query]; the id is added to the query
    # "new": a connection for each request; "keepalive": reused while possible; "h2": shared
    mode: str = "new"
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
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
        self.family, self.address = found[0][0], found[0][4]
        self.tls = _tls(settings.mode) if url.scheme == "https" else None
        self.idle: list[Channel] = []
        self._connections: list[Connection] = []
        self._template = request_template(settings)
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
        for channel in self.idle:
            channel.sock.close()
        for connection in self._connections:
            connection.task.cancel()
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
        exchange = (Stream if self.settings.mode == "h2" else Exchange)(self, ident)
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

    def request(self, ident: str) -> bytes:
        """The bytes of a request over HTTP/1.1."""
        return self._template.replace(b"{id}", ident.encode())

    def kept_connection(self) -> Channel | None:
        """An idle connection that can be used again; others are closed."""
        while self.idle:
            channel = self.idle.pop()
            if channel.is_idle():
                return channel
            channel.sock.close()
        return None

    def connection(self) -> Connection:
        """A connection of HTTP/2 that takes another stream."""
        self._connections = [each for each in self._connections if not each.is_leaving]
        for connection in self._connections:
            if connection.users < STREAMS:
                return connection
        self._connections.append(Connection(self))
        return self._connections[-1]


def _tls(mode: str) -> ssl.SSLContext:
    """The client takes any certificate: it measures what is lost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if mode == "h2" else "http/1.1"])
    return context


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
