"""When a worker is replaced for what it has served or uses."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from docker_flask.worker.recycling import Recycling
from docker_flask.worker.worker_process import WorkerProcess


def requests_until_retired(recycling: Recycling, worker: WorkerProcess, at_most: int) -> int:
    """How many requests the worker serves; at_most if it goes on."""
    for served in range(at_most):
        if worker.retired:
            return served
        recycling.count()
    return at_most


def test_a_worker_serves_a_random_share_of_max_requests() -> None:
    shares = set()
    for _ in range(200):
        recycling = Recycling(20, 0, worker := WorkerProcess(0))
        recycling.start()
        shares.add(requests_until_retired(recycling, worker, 100))
    assert min(shares) >= 10
    assert max(shares) <= 20
    assert len(shares) > 5


@pytest.mark.parametrize(("limit", "served"), [(0, 5), (1 << 40, 5), (1 << 20, 1)])
def test_a_worker_that_uses_too_much_memory(
    limit: int, served: int, capfd: pytest.CaptureFixture[str]
) -> None:
    recycling = Recycling(0, limit, worker := WorkerProcess(0))
    recycling.start()
    assert requests_until_retired(recycling, worker, 5) == served
    assert ("more than MAX_WORKER_MEMORY=1m" in capfd.readouterr().err) == (served == 1)


def test_the_calling_thread_gets_the_signal() -> None:
    """uWSGI cuts the response of another thread, if that thread waits for its reader."""
    elsewhere: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: elsewhere.append(number))

    def retire() -> bool:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        WorkerProcess(signal.SIGUSR1).retire()
        return signal.SIGUSR1 in signal.sigpending()

    try:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(retire).result()
        assert not elsewhere
    finally:
        signal.signal(signal.SIGUSR1, before)
