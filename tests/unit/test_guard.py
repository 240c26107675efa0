"""The guard: when it ends its worker for a request that takes too long."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docker_flask.worker import guard
from docker_flask.worker.guard import TICK, Guard

TIMEOUT, NOW = 10.0, 1000.0
# Since when the application has been silent; below zero: its client has been receiving.
HANGING, SENDING = 100.0, -900.0


class Ended(BaseException):
    """Instead of the end of this process."""


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A guard that raises Ended in place of ending its process."""

    def end(status: int) -> None:
        raise Ended

    monkeypatch.setattr(guard, "_exit", end)
    return Guard(lambda environ, start_response: [], TIMEOUT)


def seconds_until_the_end(watched: Guard, requests: list[float]) -> float | None:
    """How long the guard lets these requests run; None for ever."""
    running = list(enumerate(requests))
    for look in range(int(3 * TIMEOUT / TICK)):
        try:
            watched._end_if_overdue(NOW + look * TICK, running)
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
    watched: Guard, retired: bool, requests: list[float], seconds: float | None
) -> None:
    watched._retired = retired
    assert seconds_until_the_end(watched, requests) == seconds


@pytest.mark.parametrize("timeout", [1.0, 60.0])
def test_it_sleeps_while_there_are_requests_and_while_there_are_none(timeout: float) -> None:
    """Watching costs next to nothing, and a request that comes wakes who watches."""
    program = f"""if True:
        import threading, time
        from docker_flask.worker.guard import Guard
        guard = Guard(lambda environ, start_response: time.sleep(1), {timeout})
        threading.Thread(target=guard._watch, daemon=True).start()
        time.sleep(1)
        assert guard._asleep
        begun, cpu = time.monotonic(), time.process_time()
        for _ in guard({{}}, lambda *_: None):
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
