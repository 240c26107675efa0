"""The wide server: when it starts, when it ends, and what its failures lead to."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docker_flask.plan.workers import Workers
from docker_flask.shared import process
from docker_flask.shared.sockets import listen_unix
from docker_flask.supervisor.server_process import ServerProcess
from docker_flask.supervisor.wide_server import (
    INTERVAL,
    PAUSE,
    QUIET_LOOKS,
    WAITING_LOOKS,
    Demand,
    WideServer,
)
from docker_flask.supervisor.worker_counts import WorkerCounts
from tests.support.harness import wait_for

MIB = 1 << 20
NARROW = {101, 102}
START_TIMEOUT = 7.0


class Clock:
    """The time, and how much of it each narrow worker computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ran, self.load = 100.0, 0.0, 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("docker_flask.shared.process.ran", lambda _: self.ran)

    def tick(self) -> None:
        self.now += INTERVAL
        self.ran += self.load * INTERVAL


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def looks_until(clock: Clock, demand: Demand, requests: int, name: str) -> int | None:
    """How many looks it takes until the demand has a property."""
    for look in range(1, 2 * QUIET_LOOKS):
        clock.tick()
        demand.look(requests, NARROW)
        if getattr(demand, name):
            return look
    return None


@pytest.mark.parametrize(
    ("requests", "load", "looks"),
    [
        (3, 0.1, WAITING_LOOKS),
        (256, 0.0, WAITING_LOOKS),
        # Each request has a worker.
        (2, 0.1, None),
        # The CPUs are what is short: two workers that compute all the time.
        (256, 1.0, None),
    ],
)
def test_it_is_wanted(clock: Clock, requests: int, load: float, looks: int | None) -> None:
    clock.load = load
    demand = Demand()
    demand.look(0, NARROW)
    assert looks_until(clock, demand, requests, "is_high") == looks


@pytest.mark.parametrize(
    ("requests", "load", "looks"),
    [(0, 0.0, QUIET_LOOKS), (1, 0.1, QUIET_LOOKS), (2, 0.1, None), (64, 1.0, QUIET_LOOKS + 1)],
)
def test_it_is_not_wanted_any_more(
    clock: Clock, requests: int, load: float, looks: int | None
) -> None:
    clock.load = load
    demand = Demand()
    assert looks_until(clock, demand, requests, "is_low") == looks


def test_bursts_every_ten_seconds_keep_it(clock: Clock) -> None:
    demand = Demand()
    for _ in range(10):
        for requests in [100, 100, *[0] * 18]:
            clock.tick()
            demand.look(requests, NARROW)
            assert not demand.is_low


class Server:
    """Stands in for a ServerProcess."""

    def __init__(self) -> None:
        self.pid, self.loaded, self.sockets, self.left, self.killed = 7, {8, 9}, 0, False, False
        self.retired = False
        self.drain = SimpleNamespace(give=lambda: setattr(self, "left", True))

    def workers(self) -> set[int]:
        return self.loaded

    def web_sockets(self) -> int:
        return self.sockets

    def only_finishes(self) -> bool:
        return self.retired

    def lost(self) -> list[int]:
        return []

    def kill(self) -> None:
        self.killed = True


class Wide:
    """A WideServer with its servers, in a generation whose requests are given."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.made = clock, list[Server]()
        self.no_room, self.may_start = "", True
        self.server: Any = WideServer(self._open, self, START_TIMEOUT)  # type: ignore[arg-type]

    def why_no_room(self, _workers: int, _size: int) -> str:
        return self.no_room

    def _open(self) -> Server:
        self.made.append(Server())
        return self.made[-1]

    def look(self, requests: int, times: int = 1) -> None:
        for _ in range(times):
            self.clock.tick()
            self.server.advance(requests, NARROW, Workers(2, 1, 2, 128), self.may_start)


@pytest.fixture
def wide(clock: Clock) -> Wide:
    return Wide(clock)


def test_a_burst(wide: Wide, capsys: pytest.CaptureFixture[str]) -> None:
    wide.look(100, 20)
    (server,) = wide.made
    wide.look(0, QUIET_LOOKS)
    assert server.left
    assert not server.killed
    server.loaded = set()
    wide.look(0)
    assert server.killed
    assert wide.server.servers() == []
    assert capsys.readouterr().err.splitlines() == [
        "docker-flask: requests wait, and CPUs are free: starting 2 workers of 128 threads in "
        "addition",
        "docker-flask: fewer requests wait: the 2 workers of 128 threads in addition end after "
        "their last response",
    ]


def test_while_the_application_can_not_be_loaded_it_only_ends(wide: Wide) -> None:
    wide.look(100, WAITING_LOOKS)
    (server,) = wide.made
    wide.may_start = False
    wide.look(0, QUIET_LOOKS)
    assert server.left
    server.loaded = set()
    wide.look(100, WAITING_LOOKS)
    assert (server.killed, len(wide.made)) == (True, 1)
    wide.may_start = True
    wide.look(100)
    assert len(wide.made) == 2


def test_web_sockets_keep_it(wide: Wide) -> None:
    wide.look(100, WAITING_LOOKS)
    (server,) = wide.made
    server.sockets = 1
    wide.look(0, 3 * QUIET_LOOKS)
    assert not server.left
    server.sockets = 0
    wide.look(0)
    assert server.left


def test_a_stream_holds_one_server_and_a_burst_starts_another(wide: Wide) -> None:
    wide.look(100, WAITING_LOOKS)
    wide.look(0, QUIET_LOOKS)
    wide.look(100, WAITING_LOOKS)
    wide.look(1, 2 * QUIET_LOOKS)
    first, second = wide.made
    assert (first.left, first.killed, second.left) == (True, False, False)
    first.loaded = set()
    wide.look(1)
    assert second.left


@pytest.mark.parametrize("loaded", [{8}, set()])
def test_pauses_that_grow_after_failures(wide: Wide, loaded: set[int]) -> None:
    begun = []
    for _ in range(4):
        before = len(wide.made)
        while len(wide.made) == before:
            wide.look(100)
        begun.append(wide.clock.now)
        wide.made[-1].loaded = loaded
        wide.server.failed("uWSGI (pid 7) was killed by SIGKILL")
        # Workers that have loaded finish their requests.
        wide.look(100)
        assert (wide.made[-1].left, wide.made[-1].killed) == (True, not loaded)
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE]


def test_pauses_are_short_again_after_a_quiet_time(wide: Wide) -> None:
    wide.look(100, WAITING_LOOKS)
    wide.server.failed("broken")
    wide.look(0, QUIET_LOOKS)
    wide.look(100, WAITING_LOOKS)
    assert len(wide.made) == 2


def test_workers_that_load_for_too_long(wide: Wide, capsys: pytest.CaptureFixture[str]) -> None:
    wide.look(100, WAITING_LOOKS)
    (server,) = wide.made
    wide.look(100, 100)  # has workers
    server.loaded = set()
    wide.look(100, int(START_TIMEOUT / INTERVAL))
    assert not server.left
    wide.look(100, 2)
    assert server.killed
    assert "did not load the application within START_TIMEOUT=7 seconds" in capsys.readouterr().err


def test_endless_responses_in_workers_that_are_to_be_replaced(wide: Wide) -> None:
    wide.look(100, WAITING_LOOKS)
    (server,) = wide.made
    server.retired = True
    wide.no_room = "no memory"
    wide.look(100, WAITING_LOOKS)
    assert not server.left
    wide.no_room = ""
    wide.look(100, int(PAUSE / INTERVAL) + 1)
    assert (server.left, server.killed, len(wide.made)) == (True, False, 2)


def test_no_memory_for_it(wide: Wide, capsys: pytest.CaptureFixture[str]) -> None:
    wide.no_room = "2 x 24 MiB are needed, and 10 MiB are free (cgroup limit of 64 MiB)"
    wide.look(100, WAITING_LOOKS)
    assert wide.made == []
    assert capsys.readouterr().err == (
        "docker-flask: requests wait, but 2 workers of 128 threads in addition can't start: "
        f"{wide.no_room}; the other workers keep serving, next try after 5 seconds\n"
    )


def test_servers_that_come_and_go_leave_no_descriptor(tmp_path: Path) -> None:
    loop: Any = SimpleNamespace(watch=lambda *_: None, forget=lambda _: None)
    with listen_unix(str(tmp_path / "app.sock"), 1) as listener:
        before = os.listdir("/proc/self/fd")
        for _ in range(20):
            server = ServerProcess(loop, lambda _: True, WorkerCounts())
            server.start(["/bin/sleep", "60"], {}, listener)
            pid = server.pid
            server.drain.give()
            server.kill()
            os.waitpid(pid, 0)
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("free", range(6))
def test_too_few_descriptors_for_a_server(free: int) -> None:
    loop: Any = SimpleNamespace(watch=lambda *_: None, forget=lambda _: None)
    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, before)) + 1
    with ExitStack() as stack:
        # `listdir` had one that is free again; fill the gaps below the limit.
        while (number := os.open(os.devnull, os.O_RDONLY)) < most:
            stack.callback(os.close, number)
        os.close(number)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + free, hard))
        with pytest.raises(OSError, match="Too many open files"):
            ServerProcess(loop, lambda _: True, WorkerCounts())
    assert os.listdir("/proc/self/fd") == before


# --- what it reads of processes --------------------------------------------------------------


def test_what_a_process_ran_and_takes() -> None:
    ballast = 40 * MIB
    code = f"b = bytearray(b'x' * {ballast}); input(); sum(range(20_000_000)); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as child:
        assert child.stdin
        # Twice as much for a moment, while it is copied.
        bounds = range(ballast, ballast + 30 * MIB)
        wait_for(lambda: process.own_memory(child.pid) in bounds, 10, "the ballast")
        before = process.ran(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        wait_for(lambda: process.ran(child.pid) > before + 0.1, 10, "some work")
        child.stdin.close()
    assert process.ran(child.pid) == 0.0
    assert process.own_memory(child.pid) == 0
