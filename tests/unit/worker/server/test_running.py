"""What a worker says of the requests that it serves."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_flask.worker.find import places
from docker_flask.worker.middleware.exchange import Exchange, Watch
from docker_flask.worker.server.greenlets import stacks
from docker_flask.worker.server.running import Running

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/orders/77?token=secret",
    "HTTP_X_REQUEST_ID": "83ae9563",
    "HTTP_COOKIE": "secret",
}
Messages = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def messages() -> Messages:
    """What the worker has told process 1."""
    return []


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A thread that waits in a function of a file of the user's: this one."""
    monkeypatch.chdir(Path(__file__).parent)
    go, ready = threading.Event(), threading.Event()

    def query_orders() -> None:
        ready.set()
        go.wait(10)

    thread = threading.Thread(target=query_orders)
    thread.start()
    ready.wait(10)
    assert thread.ident
    yield thread.ident
    go.set()
    thread.join()


def told(messages: Messages) -> Callable[..., None]:
    return lambda state, **more: messages.append((state, more))


def test_a_slow_request_is_told_once(hanging: int, messages: Messages) -> None:
    watch = Watch()
    running = Running(watch, 10.0, "", told(messages))
    watch.begin(hanging, Exchange(dict(ENVIRON)))
    watch.clock += 10
    running.look()
    assert not messages
    watch.clock += 0.5
    running.look()
    running.look()
    [(state, more)] = messages
    assert state == "slow"
    [request] = more["requests"]
    assert request["seconds"] == 10.5
    assert request["path"] == "/orders/77"
    assert request["request_id"] == "83ae9563"
    assert "test_running.py:" in request["place"]
    assert "in query_orders" in request["place"]
    assert "secret" not in str(messages)
    # The next request of this thread.
    del watch.requests[hanging]
    watch.begin(hanging, Exchange(dict(ENVIRON)))
    watch.clock += 11
    running.look()
    assert len(messages) == 2


def test_a_request_whose_client_receives_data_is_not_slow(hanging: int, messages: Messages) -> None:
    watch = Watch()
    watch.begin(hanging, Exchange(dict(ENVIRON)))
    watch.requests[hanging].silent_since = -watch.clock
    watch.clock += 100
    Running(watch, 10.0, "", told(messages)).look()
    assert not messages


def test_all_requests_are_told_if_process_1_asks(
    tmp_path: Path, hanging: int, messages: Messages
) -> None:
    order = tmp_path / "order"
    order.touch()
    watch = Watch()
    running = Running(watch, 0.0, str(order), told(messages))
    watch.begin(hanging, Exchange(dict(ENVIRON)))
    watch.clock += 3
    running.look()  # process 1 may have asked while the worker started
    messages.clear()
    running.look()
    assert not messages
    os.utime(order, ns=(7, 7))
    running.look()
    running.look()
    [(state, more)] = messages
    assert state == "running"
    assert more["requests"][0]["seconds"] == 3


def test_a_look_keeps_no_variables_of_requests() -> None:
    class Body:
        """What a request holds, a large upload for example."""

    go, ready, bodies = threading.Event(), threading.Event(), []

    def serve() -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        ready.set()
        go.wait(10)

    gc.disable()
    try:
        thread = threading.Thread(target=serve)
        thread.start()
        ready.wait(10)
        count = len(stacks()[thread.ident])
        assert count
        go.set()
        thread.join()
        assert bodies[0]() is None
    finally:
        gc.enable()


def test_packages_of_the_folder_are_not_the_users(tmp_path: Path) -> None:
    (tmp_path / "venv/site-packages").mkdir(parents=True)
    for name, caller in (("app.py", "view"), ("venv/site-packages/library.py", "wait")):
        (tmp_path / name).write_text(f"def {caller}(call): return call()\n")
    scope: dict[str, Any] = {}
    for name in ("app.py", "venv/site-packages/library.py"):
        exec(compile((tmp_path / name).read_text(), str(tmp_path / name), "exec"), scope)  # noqa: S102
    frame = scope["view"](lambda: scope["wait"](lambda: __import__("sys")._getframe()))
    names = [each.f_code.co_name for each in places.of_user(places.stack(frame), f"{tmp_path}/")]
    assert names == ["view"]
