"""Files of the user's that can't be read, or are many: process 1 waits for none of them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_flask.plan import nginx_files
from docker_flask.shared.loop import Loop
from docker_flask.shared.ports import answer_probes
from docker_flask.shared.process import Output
from docker_flask.shared.static_files import StaticFiles
from docker_flask.supervisor.reload import reload
from docker_flask.supervisor.service import Service
from docker_flask.supervisor.task import Steps, complete, in_thread
from tests.support import plans

LIMIT = 0.3


@pytest.fixture
def service(tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose users' files are below tmp_path."""
    monkeypatch.setattr("docker_flask.supervisor.service.Loop", lambda: loop)
    for module in ("service", "nginx_configuration"):
        monkeypatch.setattr(f"docker_flask.supervisor.{module}.FILES_TIMEOUT", LIMIT)
    monkeypatch.setattr(nginx_files, "FOLDER", tmp_path / "etc")
    (tmp_path / "etc/conf.d").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Service(plans.LIMITS, tmp_path / "run", [listener], {})
        yield made
        made.nginx._health.close()


@pytest.fixture
def probed(loop: Loop) -> Iterator[Callable[[Steps[Any]], Any]]:
    """Completes steps, and asks the status port as soon as they have begun."""
    took: list[float] = []

    def ask(address: tuple[str, int]) -> None:
        begun = time.monotonic()
        with socket.create_connection(address, timeout=9) as client:
            client.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        took.append(time.monotonic() - begun)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        answer_probes([listener], loop, {"/ready": lambda: ""})
        client = threading.Thread(target=ask, args=(listener.getsockname(),))

        def run(steps: Steps[Any]) -> Any:
            client.start()
            result = complete(loop, steps)
            loop.wait(lambda: not client.is_alive(), 9, tick=0.01)
            return result

        yield run
    client.join()
    assert took
    assert took[0] < LIMIT


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends the threads that are left behind."""
    event = threading.Event()
    yield event
    event.set()


def test_a_pipe_in_place_of_a_file(
    tmp_path: Path, service: Service, probed: Callable[[Steps[str]], str]
) -> None:
    os.mkfifo(tmp_path / "etc/conf.d/pipe.conf")
    writer = threading.Timer(1, (tmp_path / "etc/conf.d/pipe.conf").write_text, [""])
    writer.start()
    problem = probed(reload(service))
    writer.join()
    assert problem.startswith(
        "reload failed, keeping the previous generation: reading your files takes more than 0.3 "
        "seconds; perhaps one in "
    )


def test_many_files_in_the_application(
    service: Service,
    probed: Callable[[Steps[None]], None],
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glob.iglob", lambda _: iter(lambda: release.wait(2), True))
    probed(service.note_unreadable_files())
    note = service.start_log.notes[-1]
    assert note == f"looking through {Path.cwd()} takes more than 0.3 seconds"


def test_many_static_files(
    tmp_path: Path,
    service: Service,
    probed: Callable[[Steps[Any]], Any],
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def test(*_: object) -> Steps[Output]:
        return Output(0, "", "")
        yield

    monkeypatch.setattr(service.programs, "run", test)
    monkeypatch.setattr("os.walk", lambda _: iter(lambda: release.wait(2), True))
    static, configurations = StaticFiles("/static", str(tmp_path)), service.nginx.configurations
    configuration = probed(configurations.prepare(plans.make(), static, None))
    (note,) = configuration.notes
    assert note.startswith(f"looking through {tmp_path} takes more than 0.3 seconds, so nginx ")
    assert configurations._static
    assert configurations._static.may_change


def test_a_function_in_a_thread(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        return 1 // 0

    begun = time.monotonic()
    assert complete(loop, in_thread(loop, lambda: 7, 9)) == 7
    with pytest.raises(ZeroDivisionError):
        complete(loop, in_thread(loop, fail, 9))
    assert time.monotonic() - begun < 0.1  # its end wakes the loop

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(OSError, match="can't start new thread; raise the limit"):
        complete(loop, in_thread(loop, lambda: 7, 9))
