"""The watchdog: when it ends its worker for a request that takes too long."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docker_flask.worker import worker_process
from docker_flask.worker.watchdog import TICK, Watchdog
from docker_flask.worker.worker_process import WorkerProcess

TIMEOUT, LIMIT, NOW = 10.0, 10.7, 1000.0
# Since when the application has been silent; below zero: its client has been receiving.
HANGING, SENDING = 100.0, -900.0


class Ended(BaseException):
    """Instead of the end of this process."""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A worker that raises Ended instead of ending its process, and gets no signal."""

    def end(status: int) -> None:
        raise Ended

    monkeypatch.setattr(worker_process, "_exit", end)
    return WorkerProcess(retire_signal=0)


def seconds_until_the_end(worker: WorkerProcess, requests: list[float]) -> float | None:
    """How long the watchdog lets these requests run; None for ever."""
    watchdog, running = Watchdog(TIMEOUT, LIMIT, worker), list(enumerate(requests))
    for look in range(int(3 * TIMEOUT / TICK)):
        try:
            watchdog._end_if_overdue(NOW + look * TICK, running)
        except Ended:
            return look * TICK
    return None


@pytest.mark.parametrize(
    ("retired", "requests", "seconds"),
    [
        # A look after the server was told to send no more requests.
        (False, [HANGING], TICK),
        # One whose client is slow to receive gets its time before that, and after it.
        (False, [HANGING, SENDING], 2 * (TIMEOUT + TICK)),
        (False, [SENDING], None),
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


@pytest.mark.parametrize("jump", [600.0, -600.0])
def test_a_jump_of_the_clock_is_given_to_requests_before_it_only(
    worker: WorkerProcess, jump: float
) -> None:
    watchdog, now = Watchdog(TIMEOUT, LIMIT, worker), NOW + jump
    before, sending, after = NOW - 3, -(NOW - 3), now - 0.1
    watchdog._add(jump, now, TICK, list(enumerate([before, sending, after])))
    assert watchdog.silent_since == {0: now - 3, 1: -(now - 3)}, "the third keeps what it has"


def test_the_log_names_the_setting(
    worker: WorkerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    assert seconds_until_the_end(worker, [HANGING]) is not None
    assert "a request took longer than REQUEST_TIMEOUT=10 seconds; " in capfd.readouterr().err


@pytest.mark.parametrize("timeout", [1.0, 60.0])
def test_it_sleeps_while_there_are_requests_and_while_there_are_none(timeout: float) -> None:
    """Watching costs next to nothing, and a request that comes wakes who watches."""
    program = f"""if True:
        import threading, time
        from docker_flask.request.chain import chain
        from docker_flask.worker.watchdog import Watchdog
        from docker_flask.worker.worker_process import WorkerProcess
        from docker_flask.worker_options import WorkerOptions
        worker = WorkerProcess(0)
        watchdog = Watchdog({timeout}, {timeout}, worker)
        count, application = lambda: None, lambda *_: time.sleep(1)
        called = chain(application, WorkerOptions(), watchdog, count, None)
        threading.Thread(target=watchdog._watch, daemon=True).start()
        time.sleep(1)
        assert watchdog._asleep
        begun, cpu = time.monotonic(), time.process_time()
        for _ in called({{}}, lambda *_: None):
            pass
        time.sleep(0.2)
        assert time.monotonic() - begun < 2
        print(time.process_time() - cpu)
    """
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=True,
    )
    assert float(result.stdout) < 0.1
