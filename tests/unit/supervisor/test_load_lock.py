"""Workers that can't load while others serve: pauses that grow, and few lines."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_flask.supervisor.load_lock import LONGEST_PAUSE, LoadLock

REASON = "Traceback of pid 17:\nOperationalError: too many connections"


class Worker:
    """Tries to load, as worker/server/wsgi.py does."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self.close = self._file.close

    def may_load(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return True


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[LoadLock]:
    made = LoadLock(tmp_path / "app.lock")
    yield made
    made.close()


def test_pauses_that_grow(
    lock: LoadLock,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    worker = Worker(lock.path)
    request.addfinalizer(worker.close)
    assert worker.may_load()
    pauses = []
    for pid in range(10, 18):
        lock.failed(REASON.replace("17", str(pid)))
        begun = now
        while not worker.may_load():
            now += 0.5
            lock.look()
        pauses.append(now - begun)
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "docker-flask: a worker can't load the application, while others serve; next try after 1 "
        "seconds: Traceback of pid 10:"
    )
    assert len(lines) == 2 + 7
    assert lines[-1] == (
        "docker-flask: a worker can't load the application, for the same reason; next try after "
        "60 seconds"
    )
    lock.failed("another reason")
    assert "another reason" in capsys.readouterr().err
    lock.loaded()
    assert worker.may_load()
    assert not lock.is_failing
    assert "after 9 that could not" in capsys.readouterr().err


def test_a_worker_that_loads_is_not_disturbed(
    lock: LoadLock, request: pytest.FixtureRequest
) -> None:
    with lock.path.open("ab") as loading:
        fcntl.flock(loading, fcntl.LOCK_EX)
        lock.failed(REASON)
    worker = Worker(lock.path)
    request.addfinalizer(worker.close)
    assert worker.may_load()  # the next look takes the lock
    lock.look()
    assert not worker.may_load()
