"""What each worker has for itself: the secret key of Flask, the sessions of Socket.IO."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.server import per_worker

POLLING = ["polling", "websocket"]


@pytest.mark.parametrize(
    ("mode", "transports", "workers", "greenlets", "words"),
    [
        ("threading", POLLING, 2, False, ["set WEB_CONCURRENCY=1 THREADS=64, or let"]),
        ("gevent", POLLING, 2, True, ["set WEB_CONCURRENCY=1, or let"]),
        ("threading", ["websocket"], 2, False, []),
        ("threading", POLLING, 1, False, []),
        ("gevent", POLLING, 1, True, []),
        ("gevent", POLLING, 1, False, ["or set WORKER_CLASS=gevent"]),
        ("eventlet", POLLING, 1, False, ['SocketIO(app, async_mode="threading")']),
        ("eventlet", POLLING, 2, True, ["async_mode='eventlet'", "long polling"]),
    ],
)
def test_lines_about_socket_io(
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    transports: list[str],
    workers: int,
    greenlets: bool,
    words: list[str],
) -> None:
    monkeypatch.setattr(per_worker, "runs_greenlets", lambda: greenlets)
    engine = SimpleNamespace(async_mode=mode, transports=transports)
    socket_io = SimpleNamespace(server=SimpleNamespace(eio=engine))
    app = SimpleNamespace(extensions={"socketio": socket_io})
    notes = per_worker.socket_io_notes(app, WorkerOptions(workers=workers))
    assert len(notes) == len(words)
    for note, part in zip(notes, words, strict=True):
        assert part in note


@pytest.mark.parametrize("extensions", [{}, {"socketio": SimpleNamespace(server=None)}])
def test_no_line_without_socket_io(extensions: dict[str, Any]) -> None:
    app = SimpleNamespace(extensions=extensions)
    assert per_worker.socket_io_notes(app, WorkerOptions(workers=2)) == []


def digest(key: Any, salt: str = "x") -> str:
    app = SimpleNamespace(config={"SECRET_KEY": key})
    return per_worker.secret_key_digest(app, WorkerOptions(salt=salt))


def test_digests_of_secret_keys() -> None:
    assert digest(None) == digest("") == ""
    assert digest("key") == digest(b"key")
    assert len({digest("key"), digest("other"), digest("key", "y"), ""}) == 4
