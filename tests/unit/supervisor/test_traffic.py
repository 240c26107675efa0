"""What nginx's short log counts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from docker_flask.shared.loop import Loop
from docker_flask.supervisor.traffic import BOUNDS, SLOT, SLOTS, Histogram, Traffic


@pytest.fixture
def counted(loop: Loop) -> Iterator[tuple[Traffic, int]]:
    """The counter, and nginx's end of its pipe."""
    counter = Traffic(loop)
    yield counter, counter.nginx_end
    os.close(counter.nginx_end)
    loop.forget(counter._pipe)
    os.close(counter._pipe)


def test_lines_are_counted_whole(counted: tuple[Traffic, int]) -> None:
    counter, end = counted
    os.write(end, b"200|GET|100|0.004|200|0.003\n" * 3 + b"503|POST|50|0.0")
    counter.read()
    os.write(end, b"00|-|-\n200|BREW|7|1.500|502, 200|0.500, 0.250\n503|GET|1|0.001|503|0.001\n")
    counter.read()
    counts = counter.counts
    assert counts.requests == {
        ("GET", "200"): 3,
        ("POST", "503"): 1,
        ("other", "200"): 1,
        ("GET", "503"): 1,
    }
    assert counts.refused == 1
    assert counts.sent_bytes == 358
    assert counts.whole.total == pytest.approx(3 * 0.004 + 1.5 + 0.001)
    assert counts.application.total == pytest.approx(3 * 0.003 + 0.75 + 0.001)
    assert sum(counts.application.counts) == 5
    last, _ = counter.last_minute()
    assert last.requests == counts.requests


@pytest.mark.parametrize(
    "line", [b"", b"x", b"200|GET", b"200|GET|a|b|c|d", b"\xff\xff|\xff|1|1|1|1", b"a" * 9000]
)
def test_nonsense_is_not_counted(counted: tuple[Traffic, int], line: bytes) -> None:
    counter, end = counted
    os.write(end, line + b"\n200|GET|1|0.001|200|0.001\n")
    counter.read()
    assert counter.counts.requests["GET", "200"] == 1
    assert len(counter.counts.requests) == 1


def test_the_last_minute_forgets(
    counted: tuple[Traffic, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, end = counted
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    for _ in range(3 * SLOTS):
        os.write(end, b"200|GET|1|0.001|200|0.001\n")
        counter.read()
        assert counter.counts.requests  # as often as Status looks, at least
        now += SLOT
    last, seconds = counter.last_minute()
    assert last.requests["GET", "200"] == SLOTS
    assert seconds == pytest.approx(SLOT * SLOTS)
    assert counter.counts.requests["GET", "200"] == 3 * SLOTS
    now += 1000
    assert not counter.last_minute()[0].requests


def test_shares_of_a_histogram() -> None:
    times = Histogram()
    assert times.share(0.5) == 0
    for milliseconds in range(1000):
        times.add(milliseconds / 1000, 1)
    assert times.share(0.5) == pytest.approx(0.5, abs=0.01)
    assert times.share(0.95) == pytest.approx(0.95, abs=0.03)
    times.add(1e6, 10_000)
    assert times.share(0.99) == BOUNDS[-1]
