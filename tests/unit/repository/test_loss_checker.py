"""The loss checker, against servers that misbehave in one known way each, and an honest one."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import socketserver
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import hpack
import pytest
from hyperframe import frame as frames

from tests.support.loss_checker.client import Settings, run
from tests.support.loss_checker.exchange import TRAILER
from tests.support.loss_checker.http2 import PREFACE
from tests.support.loss_checker.record import (
    AppRecord,
    check,
    read_record,
)
from tests.support.loss_checker.response import Response
from tests.support.loss_checker.result import Record, Result, Verdict

PATIENCE = 10.0  # s; the bound of every wait here, reached only if something is broken
TRIES = 12
CONNECTIONS = 4


def settings_of(url: str, **changes: Any) -> Settings:
    """A small load: by default TRIES requests over CONNECTIONS connections at a time."""
    if "rate" not in changes:
        changes.setdefault("connections", CONNECTIONS)
    return Settings(url, **{"requests": TRIES, "seconds": PATIENCE, "timeout": PATIENCE, **changes})


def load(url: str, **changes: Any) -> Result:
    return run(settings_of(url, **changes))


def only(verdict: str, number: int) -> dict[str, int]:
    """The counts in which every request got this verdict."""
    return {str(one): number if one == verdict else 0 for one in Verdict}


class Peer(socketserver.BaseRequestHandler):
    """The server's end of one connection."""

    server: Server

    def setup(self) -> None:
        self.sock: socket.socket = self.request
        self.sock.settimeout(PATIENCE)
        self.stream = self.sock.makefile("rb")
        self.ident, self.received, self.wants_close = "", 0, False

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that has its verdict hangs up
            self.server.behaviour(self)

    def read_request(self) -> bool:
        """Read one whole request; False if the client has closed."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (data := self.stream.readline()):
                return False
            head += data
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        self.received = len(self.stream.read(int(length[1]) if length else 0))
        found = re.match(rb"(?:GET|POST) /\?id=(\S+) HTTP/1.1\r\n", head)
        assert found, head
        self.ident = found[1].decode()
        self.wants_close = b"\r\nConnection: close\r\n" in head
        self.server.requests.append(self.ident)
        return True

    def body(self, ident: str | None = None, received: int | None = None) -> bytes:
        """The right answer, unless told otherwise."""
        size = self.received if received is None else received
        return f"id={ident or self.ident}\nreceived={size}".encode() + TRAILER

    def send(self, status: str, body: bytes, *headers: str, length: int | None = None) -> None:
        """One response; `length` is what it claims, if that is not the truth."""
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Peer], object]


class Server(socketserver.ThreadingTCPServer):
    """A server on a free port that treats every connection with one behaviour, in a thread."""

    request_queue_size = 256

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Peer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.behaviour = behaviour
        self.connections = 0
        self.requests: list[str] = []  # the ids of all that were read whole
        self._errors: list[BaseException | None] = []
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count a connection, and start its thread."""
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what failed in a thread: it must be the test's failure."""
        self._errors.append(sys.exception())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(PATIENCE)
        self.server_close()  # after all threads
        assert not self._errors


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
    return once(lambda peer: peer.send("200 OK", make(peer), "Connection: close", length=length))


def raw(make: Callable[[Peer], bytes]) -> Behaviour:
    """Exactly these bytes."""
    return once(lambda peer: peer.sock.sendall(make(peer)))


def chunked(*chunks: bytes) -> bytes:
    """A response in these chunks; the last one is empty."""
    sized = (b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(sized)


def reset_unread(peer: Peer) -> None:
    peer.sock.recv(1, socket.MSG_PEEK)
    peer.reset()


# -- one verdict each ----------------------------------------------------------------------------

UNSTATED = b"HTTP/1.1 200 OK\r\n\r\n"
SURPLUS = "bytes after the end of the response"
SLOW_CLIENT = {"send_delay": PATIENCE}  # whatever happens, happens before it sends
POST = {"method": "POST", "body_bytes": 2000}
IMPATIENT = {"timeout": 1.0, "requests": 2}


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
    Case("honest without a length", raw(lambda p: UNSTATED + p.body()), "ok", 200),
    Case("any answer will do", body(lambda p: b"hello"), "ok", 200, "", {"no_echo": True}),
    Case("honest, in chunks", raw(lambda p: chunked(p.body()[:5], p.body()[5:], b"")), "ok", 200),
    Case("short of a chunk", raw(lambda p: chunked(p.body())), "cut_short", 200, "EOF"),
    Case("reset at once", Peer.reset, "reset_unsent", None, "ECONNRESET", SLOW_CLIENT),
    Case("reset, unread", reset_unread, "reset_sent", None, "ECONNRESET"),
    Case("closed without an answer", once(lambda p: None), "reset_sent", None, "EOF"),
    Case("503", status("503 Service Unavailable"), "5xx", 503),
    Case("503 and when", status("503 Wait", "Retry-After: 1"), "503_retry_after", 503),
    Case("404", status("404 Not Found"), "4xx", 404),
    Case("short of its length", body(Peer.body, length=500), "cut_short", 200, "EOF"),
    Case("short, framed as whole", body(lambda p: p.body()[:-5]), "cut_short", 200),
    Case("another's answer", body(lambda p: p.body(ident="0-0")), "wrong_body", 200),
    Case("half of a POST", body(lambda p: p.body(received=9)), "wrong_body", 200, "", POST),
    Case("no answer", once(lambda p: p.sock.recv(1)), "timeout", None, "head", IMPATIENT),
    Case("not HTTP", raw(lambda p: b"SSH-2\r\n\r\n"), "unexpected", None, "status line b'SSH-2'"),
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


# -- HTTP/2 --------------------------------------------------------------------------------------

Answer = Callable[[Peer, int], list[frames.Frame]]


def http2(answer: Answer, last: bool = False) -> Behaviour:
    """Reads requests, and sends these frames for each; last: and closes after the first."""

    def behaviour(peer: Peer) -> None:
        decoder = hpack.Decoder()
        peer.stream.read(len(PREFACE))
        while head := peer.stream.read(9):
            frame, length = frames.Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(peer.stream.read(length)))
            if isinstance(frame, frames.HeadersFrame):
                path = dict(decoder.decode(frame.data, raw=True))[b":path"].decode()
                peer.ident = path.removeprefix("/?id=")
                peer.server.requests.append(peer.ident)
                sent = answer(peer, frame.stream_id)
                peer.sock.sendall(b"".join(each.serialize() for each in sent))
                if last:
                    return

    return behaviour


def whole(peer: Peer, number: int) -> list[frames.Frame]:
    """A right response in two frames."""
    head = frames.HeadersFrame(number, hpack.Encoder().encode([(":status", "200")]))
    head.flags.add("END_HEADERS")
    return [head, frames.DataFrame(number, peer.body(), flags=["END_STREAM"])]


def goaway(before: int) -> Answer:
    """The server is leaving; before: 1 to say that the request is not processed, 0 if it is."""
    return lambda _, number: [frames.GoAwayFrame(0, last_stream_id=number - before)]


def reset(code: int) -> Answer:
    return lambda _, number: [frames.RstStreamFrame(number, error_code=code)]


@pytest.mark.parametrize(
    ("behaviour", "verdict", "detail", "sent"),
    [
        (http2(whole), "ok", "", True),
        (http2(lambda p, n: goaway(0)(p, n) + whole(p, n), last=True), "ok", "", True),
        (http2(goaway(1)), "refused", "GOAWAY", False),
        (http2(goaway(0), last=True), "reset_sent", "EOF", True),
        (http2(reset(7)), "refused", "REFUSED_STREAM", False),
        (http2(reset(2)), "reset_sent", "RST_STREAM", True),
        (http2(lambda p, n: whole(p, n)[:1], last=True), "cut_short", "EOF", True),
    ],
)
def test_what_http2_says_of_a_stream(
    behaviour: Behaviour, verdict: str, detail: str, sent: bool
) -> None:
    with Server(behaviour) as server:
        result = load(server.url, mode="h2", connections=1)
    assert result.counts == only(verdict, TRIES)
    assert {(r.detail, r.sent) for r in result.records} == {(detail, sent)}
    assert len(server.requests) == len(set(server.requests))


@pytest.mark.parametrize("mode", ["new", "h2"])
def test_a_handshake_that_fails_is_before_the_request(mode: str) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x70"  # fatal: unrecognized_name
    with Server(lambda peer: peer.sock.sendall(alert)) as server:
        result = load(server.url.replace("http:", "https:"), mode=mode)
    assert result.counts == only("reset_unsent", TRIES)
    assert not any(r.sent for r in result.records)


def test_refused() -> None:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        result = load(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert result.counts == only("refused", TRIES)
    assert not any(r.sent for r in result.records)


def test_a_steady_rate_does_not_wait_for_responses() -> None:
    """The server responds after the last request has come; the load waits for all responses."""
    all_there = threading.Barrier(TRIES, timeout=PATIENCE)

    def stalled(peer: Peer) -> None:
        if peer.read_request():
            all_there.wait()
            peer.send("200 OK", peer.body(), "Connection: close")

    with Server(stalled) as server:
        result = load(server.url, rate=100)
    assert result.counts == only("ok", TRIES)
    first = min(result.records, key=lambda r: r.start)
    assert first.latency_ms >= (TRIES - 1) / 100 * 1000
    starts = sorted(r.start for r in result.records)
    assert all(b - a == pytest.approx(0.01, abs=1e-4) for a, b in itertools.pairwise(starts))


def test_a_response_is_complete_with_its_last_byte() -> None:
    """However it is cut into pieces."""
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    for data in (plain, chunked(b"he", b"llo", b"")):
        for cut in range(1, len(data)):
            response = Response()
            response.feed(data[:cut])
            response.end()
            assert not response.complete
            response.feed(data[cut:])
            assert response.complete
            assert (response.status, bytes(response.body)) == (200, b"hello")


# -- results, and the application's record -------------------------------------------------------


def a_record(ident: str = "x", verdict: str = "ok", **values: Any) -> Record:
    """A record of a request that began at 0 s and took 1 ms, unless told otherwise."""
    usual = {"status": 200, "start": 0.0, "late_ms": 0.0, "latency_ms": 1.0, "port": 40000}
    rest = {"sent": True, "reused": False, "detail": "", **values}
    return Record(id=ident, verdict=Verdict(verdict), **{**usual, **rest})


def a_result(*records: Record, began: float = 0.0, ended: float = 10.0) -> Result:
    return Result(began, ended, list(records))


def test_figures_of_results(tmp_path: Path) -> None:
    records = [a_record(latency_ms=float(n)) for n in range(1, 101)]
    result = a_result(*records, a_record(verdict="timeout", latency_ms=9999.0))
    assert [result.percentile(p) for p in (0, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert (a_result().percentile(50), a_result().longest_gap()) == (None, 10.0)
    answered = [a_record("a", start=2.0, latency_ms=1000), a_record("b", start=4.0)]
    result = a_result(*answered, a_record(verdict="5xx", start=6.0), began=1.0)
    assert result.longest_gap() == pytest.approx(10.0 - 4.001)
    merged = result.merge(a_result(a_record("c", start=13.0), began=11.0, ended=20.0))
    assert (merged.began, merged.ended) == (1.0, 20.0)
    assert [r.id for r in merged.between(4.0, 6.0).records] == ["b"]
    merged.dump(tmp_path / "result.json")
    assert Result.load(tmp_path / "result.json") == merged


RESET = {"status": None, "detail": "ECONNRESET"}
LISTS = ("begun_lost", "sent_lost", "turned_away", "never_accepted", "unsent")


@pytest.mark.parametrize(
    ("verdict", "values", "begun", "accepted", "expected"),
    [
        ("reset_sent", RESET, True, set(), "begun_lost"),
        ("503_retry_after", {}, True, None, "begun_lost"),
        ("5xx", {"status": 502}, False, None, "sent_lost"),
        ("reset_sent", RESET, False, None, "sent_lost"),
        ("reset_sent", RESET, False, {"x"}, "sent_lost"),
        ("reset_sent", RESET, False, {"b"}, "never_accepted"),
        # An earlier response came on the connection; a program closed it.
        ("reset_sent", RESET | {"reused": True}, False, set(), "sent_lost"),
        ("reset_sent", {"detail": "EOF"}, False, set(), "sent_lost"),
        ("503_retry_after", {}, False, None, "turned_away"),
        ("refused", {"sent": False}, False, None, "unsent"),
    ],
)
def test_each_failure_is_in_one_list(
    verdict: str, values: dict[str, Any], begun: bool, accepted: set[str] | None, expected: str
) -> None:
    one = a_record("x", verdict, **values)
    verdicts = check(a_result(one), AppRecord(Counter(["x"] if begun else [])), accepted)
    found = {kind: getattr(verdicts, kind) for kind in LISTS}
    assert found == {kind: [one] if kind == expected else [] for kind in LISTS}
    assert bool(verdicts.lost()) == expected.endswith("_lost")


def test_runs_and_holes_of_the_record_are_counted() -> None:
    result = a_result(a_record("a"), a_record("b", "reset_sent"), a_record("c"), a_record("d"))
    verdicts = check(result, AppRecord(Counter("abdddzz")))
    assert (verdicts.run_twice, verdicts.most_runs) == (["d"], 3)
    assert (verdicts.unrecorded, verdicts.unknown) == (1, ["z"])  # c is not in it
    rows = verdicts.rows()
    assert (rows["tries"], rows["ok"], rows["lost"], rows["begun_lost"]) == (4, 3, 1, 1)


@pytest.mark.parametrize("damaged", ["S b 1 10000", "X b 1 10000\n", "S b 1 10000 S c\n"])
def test_a_record_with_a_damaged_line_is_no_proof(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "record.log").write_text("S a 1 1000000000\n" + damaged)
    with pytest.raises(ValueError, match="not a note"):
        read_record(tmp_path)
    with pytest.raises(NotADirectoryError):
        read_record(tmp_path / "elsewhere")
