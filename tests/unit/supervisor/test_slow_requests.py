"""The lines about slow requests: one for each place, and what workers may write into them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from docker_flask.shared import notify, running_request
from docker_flask.shared.running_request import MAX_REQUESTS, MAX_TEXT, RunningRequest
from docker_flask.supervisor.slow_requests import INTERVAL, MAX_PLACES, SlowRequests


def request(seconds: float = 10.5, place: str = "app.py:11 in query") -> RunningRequest:
    return RunningRequest(seconds, "GET", "/orders/77", "83ae9563", place)


def test_equal_places_share_a_line_in_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    slow = SlowRequests()
    slow.note(161, [request()])
    slow.note(162, [request(11), request(10.5)])
    slow.note(163, [request(place="app.py:30 in pay")])
    slow.look(10)
    slow.note(164, [request(), request()])
    slow.look(10)
    first = capsys.readouterr().err.splitlines()
    assert first == [
        "docker-flask: a request takes longer than SLOW_REQUEST=10 seconds: GET /orders/77, "
        "request 83ae9563, in app.py:11 in query, worker 162 (2 more here)",
        "docker-flask: a request takes longer than SLOW_REQUEST=10 seconds: GET /orders/77, "
        "request 83ae9563, in app.py:30 in pay, worker 163",
    ]
    now += INTERVAL
    slow.look(10)
    assert "worker 164 (1 more here)" in capsys.readouterr().err
    slow.look(10)
    assert not capsys.readouterr().err


def test_many_places_take_little_memory() -> None:
    slow = SlowRequests()
    for number in range(10 * MAX_PLACES):
        slow.note(1, [request(place=str(number))])
    assert len(slow._found) <= MAX_PLACES + 1


@pytest.mark.parametrize(
    "rows",
    [
        None,
        7,
        "text",
        {"seconds": 1},
        [None],
        [[]],
        [{}],
        [{"seconds": "long", "method": "", "path": "", "request_id": "", "place": ""}],
        [{"seconds": 1, "method": "GET", "path": "/", "request_id": "1", "more": "x"}],
    ],
)
def test_nonsense_is_left_out(rows: Any) -> None:
    assert running_request.from_json(rows) == []


def test_what_a_worker_says_is_bounded_and_printable() -> None:
    sent = running_request.to_json([request(7)])
    assert running_request.from_json(sent) == [request(7)]
    sent[0] |= {"path": "/\x1b[2J\n" + "x" * 1000, "seconds": float("inf")}
    [read] = running_request.from_json(sent)
    assert read.path.startswith("/?[2J?xx")
    assert len(read.path) == MAX_TEXT
    assert read.seconds == 1e9
    assert len(running_request.from_json(sent * 1000)) == MAX_REQUESTS


def test_a_message_has_room_for_long_texts() -> None:
    """In Unicode, too, which JSON makes longer: otherwise nothing of the message would arrive."""
    many = [RunningRequest(n, "GET", "/ÿ" * 150, "83ae", "查" * 300) for n in range(100)]
    sent = running_request.to_json(many)
    assert len(sent) > 20
    assert sent[0]["seconds"] == 99
    assert len(json.dumps({"state": "running", "text": "", "requests": sent})) < notify.MAX_PACKET
