"""Growth: when there are more workers, when fewer, and never more than the memory has room for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from docker_flask import process
from docker_flask.supervisor.worker_pool import (
    IDLE_CHECKS,
    INTERVAL,
    WorkerPool,
)
from tests.support import plans
from tests.support.harness import wait_for

MIB = 1 << 20


class Workers:
    """A pool whose workers do as told: how many there are, and what each does and takes."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        memory: int = 8 << 30,
        size: int = 10 * MIB,
        **environ: str,
    ) -> None:
        self.now, self.ran, self.load, self.size = 100.0, 0.0, 0.0, size
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        limits = replace(
            plans.LIMITS, memory=memory, memory_reason=f"cgroup limit of {memory // MIB} MiB"
        )
        plan = plans.make(limits, **{"UWSGI_CHEAPER": "4", "THREADS": "1", **environ})
        monkeypatch.setattr("docker_flask.process.ran", lambda _: self.ran)
        monkeypatch.setattr("docker_flask.process.own_memory", lambda _: self.size)
        self.pool = WorkerPool(plan)
        self.pool.memory = size
        self.count = plan.settings.first_workers
        self.obeys, self.keep = True, False

    def look(self, requests: int, times: int = 1) -> list[int]:
        """How many workers there are after each of so many looks."""
        counts = []
        for _ in range(times):
            self.now += INTERVAL
            self.ran += self.load * INTERVAL
            change = self.pool.change(range(self.count), requests, self.keep)
            self.count += change if self.obeys else 0
            counts.append(self.count)
        return counts


@pytest.mark.parametrize(
    ("threads", "requests", "counts"),
    [
        ("1", 256, [4, 4, 8, 16, 32, 32]),
        # Never more than requests.
        ("1", 5, [4, 4, 5, 5]),
        ("16", 65, [4, 4, 5, 5]),
        ("16", 64, [4, 4, 4, 4]),
    ],
)
def test_more_while_requests_wait(
    monkeypatch: pytest.MonkeyPatch, threads: str, requests: int, counts: list[int]
) -> None:
    assert Workers(monkeypatch, THREADS=threads).look(requests, len(counts)) == counts


def test_no_fewer_while_there_are_web_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch)
    workers.look(256, 5)
    workers.keep = True
    assert workers.look(0, 50) == [32] * 50
    workers.keep = False
    assert workers.look(0, 4 * IDLE_CHECKS)[-1] == 4


def test_no_more_where_the_cpus_are_what_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch)
    workers.load = 0.5  # of a CPU, each of four workers: two in all
    assert workers.look(256, 5) == [4] * 5
    workers.load = 0.1
    assert workers.look(256, 8)[-1] == 16  # 1.6 of 2 CPUs
    workers.load = float("inf")  # nobody knows it
    assert workers.look(256, 5) == [16] * 5


def test_never_past_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a worker takes more than when it was new."""
    for size, most in ((10 * MIB, 12), (20 * MIB, 6)):  # half of the memory
        workers = Workers(monkeypatch, memory=256 * MIB, size=10 * MIB, UWSGI_CHEAPER="2")
        workers.size = size
        assert workers.look(256, 6)[-1] == most


def test_fewer_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch)
    workers.look(256, 5)
    assert workers.count == 32
    assert workers.look(16, IDLE_CHECKS)[-1] == 16
    assert workers.look(9, 2 * IDLE_CHECKS)[-1] == 16  # more than half of them are busy
    assert workers.look(0, 2 * IDLE_CHECKS)[-1] == 4
    assert workers.look(0, 2 * IDLE_CHECKS)[-1] == 4


def test_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "4 to 32 workers (UWSGI_CHEAPER, cgroup quota of 2 CPUs)"
    assert Workers(monkeypatch).pool.describe() == words
    pool = Workers(monkeypatch, memory=512 * MIB, size=10 * MIB + 1, THREADS="8").pool
    reason = "UWSGI_CHEAPER, half of the cgroup limit of 512 MiB at 11 MiB a worker"
    assert pool.describe() == f"4 to 25 workers of 8 threads ({reason})"


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
