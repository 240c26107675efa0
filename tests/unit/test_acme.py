"""When a certificate is ordered again, whatever the volume has; orders: image/test_acme.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_flask.tls import acme
from tests.support import plans


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], bool]:
    """A look of a process 1 that has just started; true if it has ordered."""
    spawned: list[object] = []
    monkeypatch.setattr(acme, "FOLDER", tmp_path / "tls")
    monkeypatch.setattr("shutil.which", str)
    monkeypatch.setattr("docker_flask.process.spawn", lambda *words: spawned.append(words) or 7)

    def look() -> bool:
        before, one = len(spawned), acme.Acme(plans.make(TLS_DOMAIN="a.test").settings)
        one.pause()
        one.step(None)
        return len(spawned) > before

    return look


def noted(tmp_path: Path) -> Path:
    (found,) = tmp_path.glob("tls/*/failures*")
    return found


def test_each_failure_doubles_the_pause(order: Callable[[], bool], tmp_path: Path) -> None:
    for minutes in (2, 4, 8):
        assert order()
        assert not order()
        now = time.time()
        os.utime(noted(tmp_path), (now, now - minutes * 60 + 5))
        assert not order()
        os.utime(noted(tmp_path), (now, now - minutes * 60))
    os.utime(noted(tmp_path), (now, now + 10**8))
    assert order(), "the clock was ahead"


def test_no_file_of_the_volume_stops_process_1(order: Callable[[], bool], tmp_path: Path) -> None:
    assert order()
    path = noted(tmp_path)
    for make in (os.mkfifo, os.mkdir, lambda at: os.symlink(at, at), os.mknod):
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        order()
    os.truncate(path, 1 << 40)
    assert not order()
