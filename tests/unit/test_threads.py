"""Threads of a worker: when more take requests, when fewer, and how the memory limits them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_flask.worker import threads
from docker_flask.worker.threads import CALM, Threads

MIB = 1 << 20
LOOK = 0.1


class Worker:
    """A worker of two whose threads do as told: what each does and takes."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        queue: int,
        memory: int = 1 << 40,
        most: int = 16,
    ) -> None:
        self.now, self.ran, self.load, self.size, self.have = 100.0, 0.0, 0.0, 10 * MIB, 1
        self.can_have = most
        self.throttled = 0.0  # seconds of each second
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(threads, "_workers", lambda: 2)
        self.threads = Threads(
            most,
            memory,
            queue,
            self._set,
            lambda _: self.ran,
            lambda _: self.size,
            lambda: self.throttled * self.now,
        )

    def _set(self, number: int) -> int:
        self.have = min(number, self.can_have)
        return self.have

    def look(self, requests: int, times: int = 1) -> list[int]:
        """How many threads there are after each of so many looks."""
        counts = []
        for _ in range(times):
            self.now += LOOK
            self.ran += self.load * LOOK
            self.threads.look(min(requests, self.have))
            assert self.threads.number == self.have
            counts.append(self.have)
        return counts


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as queue:
        queue.bind("\0docker-flask-test-threads")
        queue.listen()
        yield queue


@pytest.fixture
def queue(listener: socket.socket) -> Iterator[int]:
    """A descriptor at which somebody waits."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        yield listener.fileno()


def test_more_while_requests_wait(monkeypatch: pytest.MonkeyPatch, queue: int) -> None:
    worker = Worker(monkeypatch, queue)
    assert worker.look(99, 8) == [1, 1, 1, 4, 4, 4, 16, 16]
    assert worker.look(99, 8) == [16] * 8


def test_all_rather_than_almost_all(monkeypatch: pytest.MonkeyPatch, queue: int) -> None:
    assert dict.fromkeys(Worker(monkeypatch, queue, most=128).look(99, 12)).keys() == {
        *(1, 4, 16, 128),
    }
    assert dict.fromkeys(Worker(monkeypatch, queue, most=63).look(99, 9)).keys() == {1, 4, 63}
    # In steps where the memory has room for these only: requests take 1 MiB each.
    worker = Worker(monkeypatch, queue, memory=220 * MIB, most=128)
    counts = []
    for _ in range(15):
        worker.size = (10 + worker.have) * MIB
        counts += worker.look(999)
    assert set(counts) == {1, 4, 16, 64}


def test_no_more_while_none_waits_or_one_has_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, queue: int
) -> None:
    assert Worker(monkeypatch, queue).look(3, 9) == [1, 1, 1, *[4] * 6]
    assert Worker(monkeypatch, queue).look(0, 9) == [1] * 9
    listener.accept()[0].close()
    assert Worker(monkeypatch, queue).look(99, 9) == [1] * 9


def test_no_more_where_the_cpu_is_what_is_short(
    monkeypatch: pytest.MonkeyPatch, queue: int
) -> None:
    worker = Worker(monkeypatch, queue)
    worker.load = 0.6
    assert worker.look(99, 9) == [1] * 9
    worker.load = 0.4
    assert worker.look(99, 6)[-1] == 4
    worker.throttled = 0.5  # others of the container take the whole quota
    assert worker.look(99, 9) == [4] * 9
    worker.throttled = 0.0
    worker.load = float("inf")  # nobody counts
    assert worker.look(99, 9) == [4] * 9


def test_as_many_as_the_kernel_gives(monkeypatch: pytest.MonkeyPatch, queue: int) -> None:
    worker = Worker(monkeypatch, queue)
    worker.can_have = 3
    assert worker.look(99, 9) == [1] * 3 + [3] * 6


def test_fewer_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, queue: int, listener: socket.socket
) -> None:
    worker = Worker(monkeypatch, queue)
    calm = round(CALM / LOOK) + 1
    worker.look(99, 7)
    listener.accept()[0].close()
    assert worker.look(5, 2 * calm)[-1] == 16  # more than a quarter of them are busy
    assert worker.look(4, 3 * calm)[-1] == 8
    assert list(dict.fromkeys(worker.look(0, 5 * calm))) == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 9\n", 0.0),
        ("\nnothing\n", 0.0),
        ("nr_throttled 3\nthrottled_usec 1500000\n", 1.5),
        ("nr_throttled 3\nthrottled_time 1500000000\n", 1.5),
    ],
    ids=["no quota", "not known", "v2", "v1"],
)
def test_time_that_the_quota_took(tmp_path: Path, text: str, seconds: float) -> None:
    statistics = tmp_path / "cpu.stat"
    assert threads.throttled("") == threads.throttled(str(statistics)) == 0
    statistics.write_text(text)
    assert threads.throttled(str(statistics)) == seconds


def test_how_many_workers_there_are() -> None:
    """Two that sleep, and the one that asks."""
    program = """if True:
        import subprocess, sys
        sleeping = [subprocess.Popen(["sleep", "9"]) for _ in range(2)]
        asks = "from docker_flask.worker import threads; print(threads._workers())"
        subprocess.run([sys.executable, "-c", asks], check=True)
        for each in sleeping:
            each.kill()
            each.wait()
    """
    result = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=10, check=True
    )
    assert result.stdout == b"3\n"
