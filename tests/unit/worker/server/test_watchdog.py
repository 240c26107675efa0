"""The watchdog: when it ends its worker for a request that takes too long."""

from __future__ import annotations

import os

import pytest

from docker_flask.worker.middleware.exchange import Exchange
from docker_flask.worker.server.late_threads import LateThreads
from docker_flask.worker.server.watchdog import TICK, Watchdog
from docker_flask.worker.server.worker_process import WorkerProcess

TIMEOUT, LIMIT, NOW = 10.0, 10.7, 1000.0
# Since when the application has been silent; below zero: its client has been receiving; zero: it
# works after its response.
HANGING, SENDING, AFTER = 100.0, -900.0, 0.0


class Ended(BaseException):
    """Instead of the end of this process."""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A worker that raises Ended instead of ending its process, and gets no signal."""

    def end(status: int) -> None:
        raise Ended

    monkeypatch.setattr("os._exit", end)
    return WorkerProcess(retire_signal=0)


def seconds_until_the_end(worker: WorkerProcess, requests: list[float]) -> float | None:
    """How long the watchdog lets these requests run; None for ever."""
    threads = LateThreads(TIMEOUT, lambda *_: None)
    watchdog, running = Watchdog(TIMEOUT, LIMIT, worker, threads), []
    for thread, since in enumerate(requests):
        running.append((thread, Exchange({})))
        running[-1][1].silent_since = since
    for look in range(int(3 * TIMEOUT / TICK)):
        watchdog.clock = NOW + look * TICK
        try:
            watchdog._end_if_overdue(running)
        except Ended:
            return look * TICK
    return None


@pytest.mark.parametrize(
    ("retired", "requests", "seconds"),
    [
        # A look after the server was told to send no more requests.
        (False, [HANGING], TICK),
        # One whose client is slow to receive gets its time after it.
        (False, [HANGING, SENDING], TIMEOUT + TICK),
        (False, [HANGING, AFTER], TIMEOUT + TICK),
        (False, [SENDING], None),
        (False, [AFTER], None),
        (False, [], None),
        # The server was told before, for MAX_REQUESTS.
        (True, [HANGING], 0),
        (True, [HANGING, SENDING], TIMEOUT + TICK),
        (True, [SENDING], None),
    ],
)
def test_when_a_worker_is_ended(
    worker: WorkerProcess, retired: bool, requests: list[float], seconds: float | None
) -> None:
    worker.retired = retired
    assert seconds_until_the_end(worker, requests) == seconds


def test_a_closed_descriptor_is_no_order_to_drain() -> None:
    """uWSGI closes it when it starts itself again, and uses the number for something else."""
    reader, writer = os.pipe()
    worker = WorkerProcess(0, reader)
    assert not worker.is_drained()
    os.close(writer)
    assert worker.is_drained()
    os.close(reader)
    assert not worker.is_drained()
    assert not WorkerProcess(0, reader).is_drained()
