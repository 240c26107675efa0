"""The loss checker, against servers that misbehave in one known way each, and an honest one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tests.support.loss_checker import record as checker_record
from tests.support.loss_checker.client import TRAILER, Settings, _Load, run, run_load
from tests.support.loss_checker.netns import command_in_netns
from tests.support.loss_checker.record import (
    AppRecord,
    Note,
    check,
    ids_in_log,
    read_record,
    upper_bound,
)
from tests.support.loss_checker.response import BadResponseError, Response
from tests.support.loss_checker.result import Record, Result, Verdict

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0  # s; the bound of every wait here, reached only if something is broken
TRIES = 20
CONNECTIONS = 4


def load(url: str, **settings: Any) -> Result:
    """Run a small load: by default TRIES requests over CONNECTIONS connections at a time."""
    if "rate" not in settings:
        settings.setdefault("connections", CONNECTIONS)
    return run(
        Settings(url, **{"requests": TRIES, "seconds": PATIENCE, "timeout": PATIENCE, **settings})
    )


def only(verdict: str, number: int) -> dict[str, int]:
    """The counts in which every request got this verdict."""
    return {str(one): number if one == verdict else 0 for one in Verdict}


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.ident = ""
        self.received = 0
        self.wants_close = False
        self._buffer = b""

    def read_request(self) -> bool:
        """Read one whole request; False if the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not (data := self.sock.recv(65536)):
                return False
            self._buffer += data
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        self.received = int(length[1]) if length else 0
        while len(rest) < self.received:
            rest += self.sock.recv(65536)
        self._buffer = rest[self.received :]
        found = re.match(rb"(?:GET|POST) /\?id=(\S+) HTTP/1.1\r\n", head)
        assert found, head
        assert head.endswith(b"\r\nX-Request-Id: " + found[1])
        self.ident = found[1].decode()
        self.wants_close = b"\r\nConnection: close\r\n" in head
        with self.server.lock:
            self.server.requests.append(self.ident)
        return True

    def body(self, ident: str | None = None, received: int | None = None) -> bytes:
        """The right answer, unless told otherwise."""
        size = self.received if received is None else received
        return f"id={ident or self.ident}\nreceived={size}".encode() + TRAILER

    def send(
        self, status: str, body: bytes, *headers: str, length: int | None = None, flags: int = 0
    ) -> None:
        """One response; `length` is what it claims, if that is not the truth."""
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body, flags)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Peer], object]


class Server:
    """A server on a free port that treats every connection with one behaviour, in a thread."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.requests: list[str] = []  # the ids of all that were read whole
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._errors: list[BaseException] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        # Small, so that a large request does not fit and its client has to wait.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self._errors

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=[sock]))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        try:
            with sock:
                self.behaviour(Peer(self, sock))
        except ConnectionError:
            pass  # a client that has its verdict hangs up
        except BaseException as error:  # a thread's failure must be the test's
            self._errors.append(error)


# -- behaviours: what a server does to one connection --------------------------------------------


def honest(peer: Peer) -> None:
    """Answers every request."""
    while peer.read_request():
        peer.send("200 OK", peer.body())
        if peer.wants_close:
            return


def once(answer: Behaviour) -> Behaviour:
    """Reads one request, does `answer`, closes the connection."""

    def behaviour(peer: Peer) -> None:
        if peer.read_request():
            answer(peer)

    return behaviour


def status(line: str, *headers: str) -> Behaviour:
    return once(lambda peer: peer.send(line, b"sorry\n", "Connection: close", *headers))


def body(make: Callable[[Peer], bytes], length: int | None = None) -> Behaviour:
    """A 200 with that body, which may be shorter than the length that it claims."""
    return once(lambda peer: peer.send("200 OK", make(peer), "Connection: close", length=length))


def raw(make: Callable[[Peer], bytes]) -> Behaviour:
    """Exactly these bytes."""
    return once(lambda peer: peer.sock.sendall(make(peer)))


def chunked(*chunks: bytes) -> bytes:
    """A head and these chunks, without the last, empty one."""
    sized = (b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(sized)


def byte_by_byte(peer: Peer) -> None:
    text = peer.body()
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text)
    for byte in head + text:
        peer.sock.sendall(bytes([byte]))


def reset_unread(peer: Peer) -> None:
    peer.sock.recv(1, socket.MSG_PEEK)
    peer.reset()


def reset_partly_read(peer: Peer) -> None:
    peer.sock.recv(100)
    peer.reset()


def reset_within_body(peer: Peer) -> None:
    peer.send("200 OK", peer.body()[:10], length=500)
    peer.reset()


def answer_before_reading_all(peer: Peer) -> None:
    peer.sock.recv(1, socket.MSG_PEEK)
    peer.send("413 Content Too Large", b"sorry\n")
    while peer.sock.recv(65536):
        pass


def never_read(peer: Peer) -> None:
    peer.server.closing.wait(PATIENCE)


def silent(peer: Peer) -> None:
    peer.sock.recv(1)  # returns when the client gives up


def silent_within_body(peer: Peer) -> None:
    peer.send("200 OK", peer.body()[:-1], length=len(peer.body()))
    peer.sock.recv(1)


def announce_close(peer: Peer) -> None:
    """Says that the connection ends, and lets the client end it."""
    peer.read_request()
    peer.send("200 OK", peer.body(), "Connection: close")
    assert peer.sock.recv(1) == b""


def close_unannounced(peer: Peer) -> None:
    """Answers and closes in one segment, so that no client can send before it might know."""
    if peer.read_request():
        peer.send("200 OK", peer.body(), flags=socket.MSG_MORE)
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.sock.recv(1) == b""


# -- one verdict each ----------------------------------------------------------------------------

HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Le"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UNSTATED = b"HTTP/1.1 200 OK\r\n\r\n"
SHORT_503 = b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nsorry"
LAST_CHUNK = b"0\r\n\r\n"
SURPLUS = "bytes after the end of the response"
SLOW_CLIENT = {"send_delay": PATIENCE}  # whatever happens, happens before it sends
POST = {"method": "POST", "body_bytes": 2000}
JSON = {"method": "POST", "body_bytes": 2000, "body_type": "json"}
BIG_POST = {"method": "POST", "body_bytes": 20_000_000, "requests": 8}
IMPATIENT = {"timeout": 0.3, "requests": 4}


class Case(NamedTuple):
    """What a server does to every connection, and what every request must be said to be."""

    name: str
    behaviour: Behaviour
    verdict: str
    status: int | None = None
    detail: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012 (never changed)


CASES = [
    Case("honest", honest, "ok", 200),
    Case("honest to POST", honest, "ok", 200, "", POST),
    Case("honest to JSON", honest, "ok", 200, "", JSON),
    Case("honest to a slow client", honest, "ok", 200, "", {"send_delay": 0.01}),
    Case("honest byte by byte", once(byte_by_byte), "ok", 200),
    Case("honest in chunks", raw(lambda p: chunked(p.body()) + LAST_CHUNK), "ok", 200),
    Case("honest without a length", raw(lambda p: UNSTATED + p.body()), "ok", 200),
    Case("honest after 100", raw(lambda p: CONTINUE + UNSTATED + p.body()), "ok", 200),
    Case("any answer will do", body(lambda p: b"hello"), "ok", 200, "", {"echo": False}),
    Case("reset at once", Peer.reset, "reset_unsent", None, "ECONNRESET", SLOW_CLIENT),
    Case("closed at once", lambda p: None, "reset_unsent", None, "EOF", SLOW_CLIENT),
    Case("reset, unread", reset_unread, "reset_sent", None, "ECONNRESET"),
    Case("reset, partly read", reset_partly_read, "reset_sent", None, "ECONNRESET", BIG_POST),
    Case("reset, read", once(Peer.reset), "reset_sent", None, "ECONNRESET"),
    Case("reset, POST read", once(Peer.reset), "reset_sent", None, "ECONNRESET", POST),
    Case("closed without an answer", once(lambda p: None), "reset_sent", None, "EOF"),
    Case("closed within the head", raw(lambda p: HALF_HEAD), "reset_sent", None, "EOF"),
    Case("500", status("500 Internal Server Error"), "5xx", 500),
    Case("502", status("502 Bad Gateway"), "5xx", 502),
    Case("503", status("503 Service Unavailable"), "5xx", 503),
    Case("503 and when", status("503 Wait", "Retry-After: 1"), "503_retry_after", 503),
    Case("504", status("504 Gateway Timeout"), "5xx", 504),
    Case("404", status("404 Not Found"), "4xx", 404),
    Case("413, unread", answer_before_reading_all, "4xx", 413, "", BIG_POST),
    Case("short of its length", body(Peer.body, length=500), "cut_short", 200, "EOF"),
    Case("short by a reset", once(reset_within_body), "cut_short", 200, "ECONNRESET"),
    Case("short 503", raw(lambda p: SHORT_503), "cut_short", 503, "EOF"),
    Case("no last chunk", raw(lambda p: chunked(p.body())), "cut_short", 200, "EOF"),
    Case("short chunk", raw(lambda p: chunked(p.body())[:-9]), "cut_short", 200, "EOF"),
    Case("short last chunk", raw(lambda p: chunked(p.body()) + b"0\r\n"), "cut_short", 200, "EOF"),
    Case("short, framed as whole", body(lambda p: p.body()[:-5]), "cut_short", 200),
    Case("short without a length", raw(lambda p: UNSTATED + p.body()[:-5]), "cut_short", 200),
    Case("empty, framed as whole", body(lambda p: b""), "cut_short", 200),
    Case("another's answer", body(lambda p: p.body(ident="0-0")), "wrong_body", 200),
    Case("another page", body(lambda p: b"<h1>Welcome</h1>"), "wrong_body", 200),
    Case("half of a POST", body(lambda p: p.body(received=9)), "wrong_body", 200, "", POST),
    Case("no answer", once(silent), "timeout", None, "head", IMPATIENT),
    Case("no end", once(silent_within_body), "timeout", 200, "body", IMPATIENT),
    Case("big POST not read", never_read, "timeout", None, "send", BIG_POST | IMPATIENT),
    Case("not HTTP", raw(lambda p: b"SSH-2\r\n\r\n"), "unexpected", None, "status line b'SSH-2'"),
    Case("redirect", status("302 Found", "Location: /"), "unexpected", 302),
    Case("more than its length", body(Peer.body, length=5), "unexpected", 200, SURPLUS),
]


@pytest.mark.parametrize("mode", ["new", "keepalive"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_behaviour_has_its_verdict(case: Case, mode: str) -> None:
    """Every single request gets that verdict, and none is sent a second time."""
    with Server(case.behaviour) as server:
        result = load(server.url, mode=mode, **case.settings)
    tries = case.settings.get("requests", TRIES)
    assert result.counts == only(case.verdict, tries)
    assert {(r.status, r.detail) for r in result.records} == {(case.status, case.detail)}
    assert len({r.id for r in result.records}) == tries
    assert len(server.requests) == len(set(server.requests))
    kept = mode == "keepalive" and case.behaviour is honest
    assert server.connections == (CONNECTIONS if kept else tries)


def test_refused() -> None:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        result = load(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert result.counts == only("refused", TRIES)
    assert not any(r.sent for r in result.records)


def test_timeout_of_the_connection() -> None:
    """A full queue leaves a client waiting before it could send anything."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        result = load(f"http://127.0.0.1:{listener.getsockname()[1]}/", **IMPATIENT)
    assert result.counts == only("timeout", 4)
    assert {(r.detail, r.sent, r.connect_ms) for r in result.records} == {("connect", False, None)}


def no_descriptors(*_: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def no_ports(*_: object) -> int:
    return errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    ("broken", "by", "detail"),
    [("__init__", no_descriptors, "EMFILE"), ("connect_ex", no_ports, "EADDRNOTAVAIL")],
)
def test_limits_of_the_judge_are_not_blamed_on_the_server(
    broken: str, by: Callable[..., Any], detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def starved() -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, broken, by)
            return await run_load(Settings("http://127.0.0.1:1/", connections=1, requests=3))

    result = asyncio.run(starved())
    assert result.counts == only("client_error", 3)
    assert {r.detail for r in result.records} == {detail}


def test_mixture_is_told_apart() -> None:
    """One server that changes its ways with every connection: each verdict, exactly as often."""
    kinds = [case for case in CASES if not case.settings]
    rounds = 3
    turn = itertools.cycle(kinds)
    with Server(lambda peer: next(turn).behaviour(peer)) as server:
        result = load(server.url, connections=1, requests=rounds * len(kinds))
    expected = Counter(case.verdict for case in kinds * rounds)
    assert {verdict: n for verdict, n in result.counts.items() if n} == expected


# -- kept connections ----------------------------------------------------------------------------

PACES = [{"connections": 1}, {"rate": 200}]


@pytest.mark.parametrize("pace", PACES, ids=["closed loop", "steady rate"])
def test_announced_close_is_respected(pace: dict[str, Any]) -> None:
    with Server(announce_close) as server:
        result = load(server.url, mode="keepalive", **pace)
    assert result.counts == only("ok", TRIES)
    assert server.connections == TRIES
    assert result.idle_closes == 0
    assert not any(r.reused for r in result.records)


@pytest.mark.parametrize("pace", PACES, ids=["closed loop", "steady rate"])
def test_idle_close_is_no_loss(pace: dict[str, Any]) -> None:
    with Server(close_unannounced) as server:
        result = load(server.url, mode="keepalive", **pace)
    assert result.counts == only("ok", TRIES)
    assert server.connections == TRIES
    # Whether the last closes are still seen depends on who is first, and says nothing.
    last = sum(record.end > result.ended - 0.1 for record in result.records)
    assert TRIES - last <= result.idle_closes <= TRIES


def test_bytes_on_an_idle_connection_are_counted() -> None:
    """What nobody asked for must never be taken for the next answer."""
    idle = threading.Event()

    def chatty(peer: Peer) -> None:
        if peer.read_request():
            peer.send("200 OK", peer.body())
            assert idle.wait(PATIENCE)
            peer.send("200 OK", peer.body())

    async def one_request_and_a_stray(url: str) -> Result:
        stop = asyncio.Event()
        # The second request is due only long after all this.
        load = _Load(Settings(url, "keepalive", rate=0.1), stop)
        running = asyncio.create_task(load.run())
        await until(lambda: load.idle)
        idle.set()
        await until(lambda: not load.idle)
        stop.set()
        return await running

    with Server(chatty) as server:
        result = asyncio.run(one_request_and_a_stray(server.url))
    assert result.counts == only("ok", 1)
    assert (result.idle_strays, result.idle_closes) == (1, 0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for it, with patience."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


# -- pace, and ways to stop ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["new", "keepalive"])
def test_steady_rate_does_not_wait_for_answers(mode: str) -> None:
    """A server that answers nobody before the last request has come; latency tells of the wait."""
    all_there = threading.Barrier(TRIES, timeout=PATIENCE)

    def stalled(peer: Peer) -> None:
        if peer.read_request():
            all_there.wait()
            peer.send("200 OK", peer.body(), "Connection: close")

    with Server(stalled) as server:
        result = load(server.url, mode=mode, rate=100)
    assert result.counts == only("ok", TRIES)
    first = min(result.records, key=lambda r: r.start)
    assert first.latency_ms >= (TRIES - 1) / 100 * 1000
    assert result.longest_gap() >= (TRIES - 1) / 100


def test_late_requests_are_sent_and_said_to_be_late() -> None:
    """The client is held up: nothing is left out, latency counts from the due time."""

    async def held_up(url: str) -> Result:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.2)
        return await run_load(Settings(url, rate=100, requests=30))

    with Server(honest) as server:
        result = asyncio.run(held_up(server.url))
    assert result.counts == only("ok", 30)
    starts = sorted(r.start for r in result.records)
    assert all(b - a == pytest.approx(0.01, abs=1e-4) for a, b in itertools.pairwise(starts))
    latest = max(result.records, key=lambda r: r.late_ms)
    assert latest.late_ms > 100
    assert latest.latency_ms > latest.late_ms


def test_seconds_bound_the_load_and_requests_in_flight_are_waited_for() -> None:
    release = threading.Event()

    def held(peer: Peer) -> None:
        if peer.read_request():
            release.wait(PATIENCE)
            peer.send("200 OK", peer.body(), "Connection: close")

    async def released_late(url: str) -> Result:
        asyncio.get_running_loop().call_later(0.4, release.set)
        return await run_load(Settings(url, connections=3, seconds=0.2, timeout=PATIENCE))

    with Server(held) as server:
        result = asyncio.run(released_late(server.url))
    assert result.counts == only("ok", 3)
    assert 0.3 < result.ended - result.began < PATIENCE


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, "file"])
def test_command_line_stops_when_told(stop: signal.Signals | str, tmp_path: Path) -> None:
    """Told in the middle of a long load, it finishes what is in flight and writes its result."""
    under_way = threading.Event()

    def slow(peer: Peer) -> None:
        while peer.read_request():
            if len(peer.server.requests) >= TRIES:
                under_way.set()
            peer.send("200 OK", peer.body())

    out, until = tmp_path / "out.json", tmp_path / "until"
    with Server(slow) as server:
        load = "--mode keepalive --rate 100 --seconds 60"
        client = start_client(server.url, f"{load} --out {out} --until-file {until}")
        assert under_way.wait(PATIENCE)
        if isinstance(stop, signal.Signals):
            client.send_signal(stop)
        else:
            until.touch()
        printed, _ = client.communicate(timeout=PATIENCE)
    assert client.returncode == 0
    result = Result.load(out)
    assert json.loads(printed) == result.summary()
    assert result.counts == only("ok", len(server.requests))
    assert TRIES <= len(server.requests) < 60 * 100


def test_command_line_runs_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with Server(honest) as server:
        load = "--method POST --connections 2 --requests 10 --body-bytes 100 --body-type json"
        client = start_client(server.url, f"{load} --timeout 5 --out {out}")
        client.communicate(timeout=PATIENCE)
    assert client.returncode == 0
    assert Result.load(out).counts == only("ok", 10)
    assert sorted(r.id for r in Result.load(out).records) == sorted(server.requests)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def start_client(url: str, arguments: str) -> subprocess.Popen[str]:
    """The client as its own process, as the tests against a container run it."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.loss_checker.client",
            "--url",
            url,
            *arguments.split(),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, "either"),
        ({"rate": 1, "connections": 1}, "either"),
        ({"rate": 0}, "above 0"),
        ({"rate": 1, "timeout": 0}, "above 0"),
        ({"rate": 1, "mode": "http2"}, "http2"),
        ({"rate": 1, "method": "PUT"}, "PUT"),
        ({"rate": 1, "url": "https://x/"}, "https"),
        ({"rate": 1, "body_bytes": -1}, "-1"),
        ({"rate": 1, "method": "POST", "body_type": "json", "body_bytes": 1}, "JSON"),
    ],
)
def test_settings_that_make_no_load_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Settings(**{"url": "http://127.0.0.1/", **wrong})


# -- reading responses ---------------------------------------------------------------------------

WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": chunked(b"he", b"llo") + b"0\r\n\r\n",
    "chunks, extension, trailer": chunked(b"hello") + b"0 ;a=b\r\nA: b\r\n\r\n",
    "informational first": CONTINUE + b"HTTP/1.1 200 OK\r\nContent-Length:5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", WHOLE)
def test_response_is_complete_with_its_last_byte_and_not_before(name: str) -> None:
    """However it is cut into pieces."""
    data = WHOLE[name]
    for cut in range(1, len(data)):
        response = Response()
        response.feed(data[:cut])
        response.end()
        assert not response.complete
        response.feed(data[cut:])
        assert response.complete
        assert (response.status, bytes(response.body)) == (200, b"hello")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"x" * 70000,
        chunked() + b"0x5\r\nhello\r\n",
        chunked() + b"\r\n",
        chunked() + b"5\r\nhello!\r\n",
        WHOLE["length"] + b"!",
        WHOLE["chunks"] + b"!",
    ],
)
def test_malformed_response_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponseError):
        Response().feed(data)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: TE, Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_may_be_kept(head: bytes, kept: bool) -> None:
    response = Response()
    response.feed(head)
    assert (response.complete, response.keep_alive) == (True, kept)


# -- results -------------------------------------------------------------------------------------


def a_record(ident: str = "x", verdict: str = "ok", **values: Any) -> Record:
    """A record of a request that began at 0 s and took 1 ms, unless told otherwise."""
    usual = {
        "status": 200,
        "start": 0.0,
        "late_ms": 0.0,
        "connect_ms": 0.1,
        "latency_ms": 1.0,
        "port": 40000,
        "sent": True,
        "reused": False,
        "detail": "",
    }
    return Record(id=ident, verdict=Verdict(verdict), **{**usual, **values})


def a_result(*records: Record, began: float = 0.0, ended: float = 10.0) -> Result:
    return Result([], began, ended, list(records))


def test_percentiles_are_those_of_answered_requests() -> None:
    records = [a_record(latency_ms=float(n)) for n in range(1, 101)]
    result = a_result(*records, a_record(verdict="timeout", latency_ms=9999.0))
    assert [result.percentile(p) for p in (0, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert result.percentile(50, Verdict.TIMEOUT) == 9999.0
    assert a_result().percentile(50) is None


def test_longest_gap_includes_both_ends() -> None:
    answered = [a_record(start=2.0, latency_ms=1000), a_record(start=4.0, latency_ms=500)]
    failed = a_record(verdict="5xx", start=6.0)
    assert a_result(*answered, failed).longest_gap() == pytest.approx(5.5)
    assert a_result(*answered, ended=5.0).longest_gap() == pytest.approx(3.0)
    assert a_result().longest_gap() == 10.0


def test_merge_between_and_file(tmp_path: Path) -> None:
    first = a_result(a_record("a", start=1.0), a_record("b", "refused", start=2.0))
    second = a_result(a_record("c", start=3.0), began=1.0, ended=20.0)
    second.idle_closes = 2
    merged = first.merge(second)
    assert (merged.began, merged.ended, merged.idle_closes) == (0.0, 20.0, 2)
    assert [r.id for r in merged.between(2.0, 3.0).records] == ["b"]
    merged.dump(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == merged


# -- the application's record, joined ------------------------------------------------------------


def an_app_record(*notes: str) -> AppRecord:
    """From notes like "S a"."""
    record = AppRecord()
    for one in notes:
        kind, ident = one.split()
        {"S": record.starts, "E": record.ends}[kind][ident].append(Note(1, 0.0))
    return record


RESET = {"status": None, "detail": "ECONNRESET"}

# (what the client saw, what the application noted, ids in the server's log or None, the one list)
JOINS: dict[str, tuple[Record, list[str], set[str] | None, str]] = {
    "begun, no answer": (a_record("a", "reset_sent", **RESET), ["S a"], None, "begun_lost"),
    "begun, whatever a log says": (
        a_record("a", "reset_sent", **RESET),
        ["S a"],
        set(),
        "begun_lost",
    ),
    "begun, answered by 503": (a_record("a", "503_retry_after"), ["S a"], None, "begun_lost"),
    "begun, cut short": (a_record("a", "cut_short"), ["S a"], None, "begun_lost"),
    "not begun, 502": (a_record("a", "5xx", status=502), [], None, "sent_lost"),
    "not begun, timeout": (a_record("a", "timeout", detail="head"), [], None, "sent_lost"),
    "not begun, reset": (a_record("a", "reset_sent", **RESET), [], None, "sent_lost"),
    "reset, in the log": (a_record("a", "reset_sent", **RESET), [], {"a"}, "sent_lost"),
    "reset, not in the log": (a_record("a", "reset_sent", **RESET), [], {"b"}, "never_accepted"),
    "reset, not in the log, but accepted before": (
        a_record("a", "reset_sent", reused=True, **RESET),
        [],
        set(),
        "sent_lost",
    ),
    "closed by somebody": (a_record("a", "reset_sent", detail="EOF"), [], set(), "sent_lost"),
    "turned away": (a_record("a", "503_retry_after", status=503), [], None, "turned_away"),
    "refused": (a_record("a", "refused", sent=False), [], None, "unsent"),
    "reset before sending": (a_record("a", "reset_unsent", sent=False), [], None, "unsent"),
    "never connected": (a_record("a", "timeout", sent=False), [], None, "unsent"),
}


@pytest.mark.parametrize("name", JOINS)
def test_each_failure_is_in_one_list(name: str) -> None:
    one, notes, accepted, expected = JOINS[name]
    verdicts = check(a_result(one), an_app_record(*notes), accepted)
    lists = ("begun_lost", "sent_lost", "turned_away", "never_accepted", "unsent")
    assert {kind: getattr(verdicts, kind) for kind in lists} == {
        kind: [one] if kind == expected else [] for kind in lists
    }
    assert bool(verdicts.lost()) == expected.endswith("_lost")
    assert bool(verdicts.never_begun()) == (expected != "begun_lost")


def test_join_counts() -> None:
    """Run twice, finished but lost, and the two signs that the proof itself has a hole."""
    result = a_result(a_record("a"), a_record("b", "reset_sent"), a_record("c"), a_record("d"))
    record = an_app_record("S a", "E a", "S b", "E b", "S d", "S d", "S d", "E d", "S z", "S z")
    verdicts = check(result, record)
    assert verdicts.tries == 4
    assert [r.id for r in verdicts.finished_lost] == ["b"]
    assert (verdicts.run_twice, verdicts.most_runs) == (["d"], 3)
    assert (verdicts.unrecorded, verdicts.unknown) == (1, 1)  # c and z
    both = verdicts + check(a_result(a_record("e", "5xx")), an_app_record())
    assert (both.tries, both.most_runs, both.run_twice) == (5, 3, ["d"])
    assert (both.counts["ok"], both.counts["5xx"], len(both.lost())) == (3, 1, 2)
    assert "| begun_lost | 1 |\n| sent_lost | 1 |" in both.markdown()


def test_server_that_runs_requests_twice(tmp_path: Path) -> None:
    """Every fifth request is begun again, as after a retry: the client sees nothing of it."""
    served = itertools.count(1)

    def twice(peer: Peer) -> None:
        assert peer.read_request()
        runs = 2 if next(served) % 5 == 0 else 1
        with peer.server.lock, (tmp_path / "record.log").open("a") as notes:
            notes.write(f"S {peer.ident} 7 1000000000\n" * runs + f"E {peer.ident} 7 2000000000\n")
        peer.send("200 OK", peer.body())

    with Server(twice) as server:
        result = load(server.url)
    verdicts = check(result, read_record(tmp_path))
    assert result.counts == only("ok", TRIES)
    assert len(verdicts.run_twice) == TRIES // 5
    assert set(verdicts.run_twice) <= set(server.requests)
    assert (verdicts.most_runs, verdicts.unrecorded, verdicts.unknown) == (2, 0, 0)
    assert verdicts.lost() == []


def test_record_with_a_damaged_line_is_no_proof(tmp_path: Path) -> None:
    (tmp_path / "record.log").write_text("S a 1 1000000000\nE a 1 2000000000\n")
    record = read_record(tmp_path)
    assert (record.starts, record.ends) == ({"a": [Note(1, 1.0)]}, {"a": [Note(1, 2.0)]})
    for damaged in ("S b 1 10000", "S b 1\n", "X b 1 10000\n", "S b 1 10000 S c\n", "\n"):
        (tmp_path / "record.log").write_text("S a 1 1000000000\n" + damaged)
        with pytest.raises(ValueError, match="not a note"):
            read_record(tmp_path)
    with pytest.raises(NotADirectoryError):
        read_record(tmp_path / "elsewhere")


def test_ids_are_found_in_a_server_log() -> None:
    with Server(honest) as server:
        result = load(server.url, requests=3)
    log = "".join(f'- - "GET /?x=1&id={r.id} HTTP/1.1" 200\n' for r in result.records)
    assert ids_in_log(log + "GET /favicon.ico\n") == {r.id for r in result.records}


def test_command_line_of_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table and each lost request; its exit code is the answer."""
    ident = "0123456789-1"
    lost = a_record(ident, "reset_sent", **RESET)
    a_result(lost).dump(tmp_path / "result.json")
    (tmp_path / "access").touch()
    arguments = ["--record", str(tmp_path), str(tmp_path / "result.json")]
    (tmp_path / "record.log").touch()
    assert checker_record.main(arguments) == 1
    assert ident in capsys.readouterr().out
    assert checker_record.main([*arguments, "--server-log", str(tmp_path / "access")]) == 0
    assert "| never_accepted | 1 |" in capsys.readouterr().out
    a_result(a_record(ident)).dump(tmp_path / "result.json")
    assert checker_record.main(arguments) == 1  # answered, but nobody noted it
    (tmp_path / "record.log").write_text(f"S {ident} 1 1000000000\n")
    assert checker_record.main(arguments) == 0


@pytest.mark.parametrize(
    ("failures", "tries", "bound"),
    [
        (0, 1, 0.95),
        (0, 10, 1 - 0.05 ** (1 / 10)),
        (0, 100_000, 2.99569e-5),
        (1, 10, 0.394163),
        (5, 100, 0.102253),
        (99, 100, 0.95 ** (1 / 100)),
        (10, 10, 1.0),
        (0, 0, 1.0),
    ],
)
def test_upper_bound(failures: int, tries: int, bound: float) -> None:
    assert upper_bound(failures, tries) == pytest.approx(bound, rel=1e-4)


# -- the application -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, Path]]:
    """The application, imported as a server would, and the directory of its record."""
    pytest.importorskip("flask")
    directory = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECORD_DIR", str(directory))
        patch.setenv("APP_VERSION", "7")
        yield importlib.import_module("tests.support.loss_checker.app"), directory
    sys.modules.pop("tests.support.loss_checker.app")


@pytest.fixture(scope="module")
def app_url(recording_app: tuple[ModuleType, Path]) -> Iterator[str]:
    """Where it is served, by the development server."""
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, recording_app[0].app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


@pytest.mark.parametrize("mode", ["new", "keepalive"])
@pytest.mark.parametrize("settings", [{}, POST, JSON], ids=["GET", "POST", "JSON"])
def test_client_application_and_record_agree(
    recording_app: tuple[ModuleType, Path], app_url: str, settings: dict[str, Any], mode: str
) -> None:
    result = load(app_url, mode=mode, **settings)
    verdicts = check(result, read_record(recording_app[1]))
    assert result.counts == only("ok", TRIES)
    assert (verdicts.lost(), verdicts.run_twice, verdicts.unrecorded) == ([], [], 0)
    record = all_ended(recording_app[1], {r.id for r in result.records})
    for one in result.records:
        (start,), (end,) = record.starts[one.id], record.ends[one.id]
        assert start.pid == end.pid == os.getpid()
        assert one.start <= start.at <= min(one.end, end.at)  # one clock for both


def all_ended(directory: Path, idents: set[str]) -> AppRecord:
    """The record, once it has the ends of these ids: an answer arrives before its end is noted."""
    deadline = time.monotonic() + PATIENCE
    while idents - (record := read_record(directory)).ends.keys():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return record


@pytest.mark.parametrize(
    "path",
    [
        "sleep?s=0.01",
        "bytes?n=1000000",
        "stream?n=3&s=0.01",
        "leak?mb=1",
        "orphan?s=0.1",
    ],
)
def test_paths_that_answer(app_url: str, path: str) -> None:
    """Each with an answer that the client takes for whole and right."""
    for settings in ({}, POST):
        result = load(app_url + path, requests=1, **settings)
        assert result.counts == only("ok", 1)


def test_leak_keeps_what_it_took(recording_app: tuple[ModuleType, Path]) -> None:
    app, _ = recording_app
    before = sum(map(len, app._leaked))
    app.app.test_client().get("/leak?mb=3")
    assert sum(map(len, app._leaked)) == before + 3 * 1024 * 1024


def test_requests_without_an_id_are_answered_and_not_recorded(
    recording_app: tuple[ModuleType, Path],
) -> None:
    app, directory = recording_app
    before = read_record(directory).starts
    client = app.app.test_client()
    assert client.get("/").text == f"id=\npid={os.getpid()}\nversion=7\nreceived=0\nend-of-answer\n"
    assert client.get("/pid").text == f"{os.getpid()}\n"
    assert client.get("/?id=a%20b", headers={"X-Request-Id": "a b"}).text.startswith("id=\n")
    assert read_record(directory).starts == before
    assert client.get("/", headers={"X-Request-Id": "by-header"}).text.startswith("id=by-header\n")
    assert read_record(directory).starts["by-header"]


def test_version_file_beside_the_application_wins(tmp_path: Path) -> None:
    pytest.importorskip("flask")
    shutil.copy(ROOT / "tests/support/loss_checker/app.py", tmp_path)  # alone, as it is mounted
    (tmp_path / "version.txt").write_text("8\n")
    code = "import app; print(app.application.test_client().get('/').text)"
    printed = run_python(code, tmp_path, PYTHONPATH=str(tmp_path), APP_VERSION="7")
    assert "\nversion=8\n" in printed.stdout


def run_python(code: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which it may bring to any end; record in `directory`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RECORD_DIR": str(directory), **environment},
        cwd=directory,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )


OTHER_THREAD = 77
# A thread that ends the process, if it ever gets its turn; and a signal that ends it in any case.
REQUEST_WITH_A_WITNESS = """
import os, signal, threading
from tests.support.loss_checker.app import app
witness = threading.Timer(0.2, os._exit, [{code}])
witness.daemon = True
witness.start()
signal.setitimer(signal.ITIMER_REAL, 1)
for _ in app.test_client().get("{path}").response: pass
"""


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/exit?code=3&id=x", 3),
        ("/exit?code=22&how=sys&id=x", 22),
        ("/segfault?id=x", -signal.SIGSEGV),
        ("/hang?id=x", OTHER_THREAD),
        ("/loop?id=x", OTHER_THREAD),
        ("/sse?id=x", OTHER_THREAD),
        ("/gilloop?id=x", -signal.SIGALRM),
    ],
)
def test_paths_that_do_not_answer(path: str, code: int, tmp_path: Path) -> None:
    """Each brings its process to the end that it should, and leaves a start without an end."""
    pytest.importorskip("flask")
    ended = run_python(REQUEST_WITH_A_WITNESS.format(path=path, code=OTHER_THREAD), tmp_path)
    assert ended.returncode == code, ended.stderr
    record = read_record(tmp_path)
    assert (list(record.starts), list(record.ends)) == (["x"], [])


def test_trailers_are_the_same(recording_app: tuple[ModuleType, Path]) -> None:
    assert b"\n" + recording_app[0].TRAILER.encode() == TRAILER


# -- network namespaces --------------------------------------------------------------------------


def test_command_in_netns() -> None:
    command = command_in_netns(42, ["client", "--rate", "1"])
    assert command == ["nsenter", "--target", "42", "--net", "--", "client", "--rate", "1"]
    with pytest.raises(ValueError, match="pid 0"):
        command_in_netns(0, ["client"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")
def test_command_outlives_the_process_whose_network_it_uses() -> None:
    """It runs in that network, and goes on in it after the process has gone."""
    show = "readlink /proc/self/ns/net"
    keeper = ["unshare", "--net", "sh", "-c", f"{show}; read line"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(keeper, **pipes) as owner:
        theirs = owner.stdout.readline()
        entered = command_in_netns(owner.pid, ["sh", "-c", f"echo in; read line; {show}"])
        with subprocess.Popen(entered, **pipes) as guest:
            assert guest.stdout.readline() == "in\n"
            owner.communicate("end\n", timeout=PATIENCE)
            seen, _ = guest.communicate("go on\n", timeout=PATIENCE)
    assert seen == theirs
    assert theirs.strip() != os.readlink("/proc/self/ns/net")
