"""Files of large responses: who may have one, and what becomes of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from docker_flask.worker.large_response import UNCLOSED, UNOPENED, Busy, LargeResponses

PRIVATE, PUBLIC = {"REMOTE_ADDR": "10.0.0.7"}, {"REMOTE_ADDR": "8.8.8.8"}
DATA = b"x" * 1000


def test_a_response_becomes_a_file_that_others_can_not_read(tmp_path: Path) -> None:
    path = LargeResponses(str(tmp_path), 10_000, lambda: 1).write(PRIVATE, DATA, 1)
    assert path
    assert Path(path).read_bytes() == DATA
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_response_that_takes_too_much_is_left_to_the_worker(tmp_path: Path) -> None:
    assert LargeResponses(str(tmp_path), 1999, lambda: 1).write(PRIVATE, DATA, 1) is None
    assert LargeResponses(str(tmp_path / "none"), 10_000, lambda: 1).write(PRIVATE, DATA, 1) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("environ", "count"), [(PRIVATE, 10), (PUBLIC, 2)])
def test_there_is_room_for_so_many(tmp_path: Path, environ: dict[str, str], count: int) -> None:
    files = LargeResponses(str(tmp_path), 10_000, lambda: 32)
    for _ in range(count):
        assert files.write(environ, DATA, 32)
    assert files.write(environ, DATA, 2) is None, "the worker has other threads"
    with pytest.raises(Busy):
        files.write(environ, DATA, 3)
    if environ is PUBLIC:
        assert files.write({"REMOTE_ADDR": "8.8.4.4"}, DATA, 32), "another client"


def test_the_first_response_to_an_address_may_take_half_of_the_room(tmp_path: Path) -> None:
    assert LargeResponses(str(tmp_path), 2000, lambda: 1).write(PUBLIC, DATA, 1)


def test_a_worker_with_few_threads_sends_none_itself(tmp_path: Path) -> None:
    threads = 16
    files = LargeResponses(str(tmp_path), 2000, lambda: threads)
    for _ in range(2):
        assert files.write(PRIVATE, DATA, 1)
    assert files.write(PRIVATE, DATA, 1) is None
    threads = 4
    with pytest.raises(Busy):
        files.write(PRIVATE, DATA, 1)


@pytest.mark.parametrize(("mode", "seconds"), [(0o600, UNOPENED), (0o400, UNCLOSED)])
def test_a_file_that_belongs_to_nobody_is_removed(tmp_path: Path, mode: int, seconds: int) -> None:
    files = LargeResponses(str(tmp_path), 2000, lambda: 1)
    for age in (seconds + 5, max(0, seconds - 5)):
        path = files.write(PRIVATE, DATA, 1)
        assert path
        Path(path).chmod(mode)
        os.utime(path, (time.time() - age,) * 2)
    files.write(PRIVATE, DATA, 1)
    assert len(list(tmp_path.iterdir())) == 2
