"""When process 1 starts again what died: nginx, its workers, the application server; and what stays
if a reload fails."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.plan import nginx_files
from docker_flask.shared import process
from docker_flask.shared.loop import Loop
from docker_flask.shared.process import Output
from docker_flask.shared.setting_error import SettingError
from docker_flask.supervisor.nginx_configuration import Configuration
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.restarts import Failure
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.task import Steps, complete
from tests.support import plans


class Clock(SimpleNamespace):
    """In place of the module `time`: it stands still until a test advances it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("supervisor.restarts", "supervisor.nginx_workers"):
        monkeypatch.setattr(f"docker_flask.{module}.time", clock)
    return clock


@pytest.fixture
def service(tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that serves."""
    monkeypatch.setattr("docker_flask.supervisor.service.Loop", lambda: loop)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Service(plans.LIMITS, tmp_path, [listener], {})
        made.phase = Phase.SERVING
        yield made
        made.nginx._health.close()


@pytest.fixture
def starts(service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When nginx was started."""
    found: list[float] = []

    def restart() -> None:
        service.nginx.pid = 15
        found.append(clock.now)

    service.nginx.pid = 15
    monkeypatch.setattr(service.nginx, "restart", restart)
    return found


def test_restarts_pause_and_the_sixth_death_ends_the_container(
    service: Service, clock: Clock, starts: list[float]
) -> None:
    expected: list[float] = []
    for pause in (0, 1, 2, 4, 8):
        begun = clock.now
        service.child_ended(service.nginx.pid, 9)
        while len(starts) == len(expected) and clock.now < begun + 60:
            clock.now += 0.25
            service.restarts.advance()
        expected.append(begun + pause)
        assert starts == expected
    with pytest.raises(Failure, match="SIGKILL, 6 times within a minute"):
        service.child_ended(service.nginx.pid, 9)


def test_a_stop_waits_for_no_pause(service: Service, starts: list[float]) -> None:
    for _ in range(2):
        service.child_ended(service.nginx.pid, 9)
    assert len(starts) == 1
    service.phase = Phase.STOPPING
    service.restarts.advance(at_once=True)
    assert len(starts) == 2
    service.child_ended(service.nginx.pid, 9)
    service.restarts.advance(at_once=True)
    assert len(starts) == 2


@pytest.mark.parametrize(
    ("title", "workers", "seconds"),
    [
        (b"nginx: master process /usr/sbin/nginx", 0, [1, 2, 4, 8, 16, 32]),
        (b"nginx: master process /usr/sbin/nginx", 1, []),
        (b"/usr/sbin/nginx", 0, []),  # it starts
    ],
)
def test_an_nginx_without_workers_is_started_again(
    service: Service,
    clock: Clock,
    starts: list[float],
    monkeypatch: pytest.MonkeyPatch,
    title: bytes,
    workers: int,
    seconds: list[int],
) -> None:
    nginx, begun, told = service.nginx, clock.now, []
    service.current = SimpleNamespace(look=lambda: None)  # type: ignore[assignment]
    nginx._shortage.begin()
    monkeypatch.setattr(nginx, "workers", lambda: set(range(workers if clock.now > begun else 2)))
    monkeypatch.setattr("docker_flask.supervisor.nginx_workers.title", lambda _: title)
    monkeypatch.setattr(
        process, "signal_process", lambda pid, number: told.append((clock.now - begun, pid, number))
    )
    while clock.now < begun + 40:
        service.look()
        clock.now += 0.5
    assert told == [(after, 15, signal.SIGKILL) for after in seconds]
    assert len(starts) == len(seconds)


@pytest.mark.parametrize(
    ("serves", "words"),
    [
        ("old", "reload failed, keeping the previous generation: "),
        ("new", "the new generation serves, but nginx keeps its previous configuration: "),
    ],
)
def test_a_reload_that_fails_says_what_serves(
    service: Service, monkeypatch: pytest.MonkeyPatch, serves: str, words: str
) -> None:
    def fail() -> Steps[Configuration]:
        service.current = serves  # type: ignore[assignment]
        return service.nginx.configurations.prepare(plans.make(), None, None)

    full = service.runtime / "next/nginx.conf"
    full.parent.mkdir()
    full.symlink_to("/dev/full")
    monkeypatch.setattr(nginx_files, "FOLDER", full.parent)
    monkeypatch.setattr(service, "make_plan", fail)
    service.current = "old"  # type: ignore[assignment]
    reloads, answers = Reloads(service), list[str]()
    reloads.request_and_answer(answers.append)
    reloads.advance()
    (answer,) = answers
    why = f"[Errno 28] No space left on device: '{full}'; delete files on this disk"
    assert answer.startswith(f"{words}{why}"), answer


def test_a_configuration_that_is_refused_changes_no_file(
    service: Service, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that nginx reads if it starts again; also if it is killed during the test."""
    nginx, runtime = service.nginx, service.runtime
    monkeypatch.setattr(nginx_files, "FOLDER", runtime)

    def prepare(code: int, script_name: str = "") -> dict[str, str]:
        def test(*_: object) -> Steps[Output]:
            return Output(code, "", "[emerg] no")
            yield

        plan = plans.make(SCRIPT_NAME=script_name)
        monkeypatch.setattr(service.programs, "run", test)
        configuration = complete(loop, nginx.configurations.prepare(plan, None, None))
        nginx.configurations.take_up(configuration)
        return files()

    def files() -> dict[str, str]:
        return {name: (runtime / name).read_text() for name in ("nginx.conf", "uwsgi_params")}

    first = prepare(0)
    with pytest.raises(SettingError, match="nginx rejects its configuration: no"):
        prepare(1, "/shop")
    assert files() == first
    second = prepare(0, "/shop")
    assert "SCRIPT_NAME /shop;" in second["uwsgi_params"]
    assert second["nginx.conf"] != first["nginx.conf"]


def test_a_reload_notices_that_nginx_keeps_its_configuration(
    service: Service, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its test succeeded, and a host name does not resolve a moment later, for example."""
    nginx, started, taken = service.nginx, {15}, list[Configuration]()
    configuration = Configuration("a", "a", [], certificate=service.runtime / "tls1")
    for name in ("TAKE_UP", "TAKEOVER"):
        monkeypatch.setattr(f"docker_flask.supervisor.nginx.{name}", 0.1)
    for name in ("nginx.conf", "uwsgi_params"):
        (service.runtime / "next").mkdir(exist_ok=True)
        (service.runtime / "next" / name).write_text("")
    monkeypatch.setattr(nginx, "workers", lambda: started)
    monkeypatch.setattr(process, "states", lambda _: {15: "S"})
    monkeypatch.setattr(process, "signal_process", lambda pid, number: None)
    with pytest.raises(OSError, match="nginx started no worker with it"):
        complete(loop, nginx.reload(plans.make(), configuration))
    assert not (service.runtime / "draining").exists()
    assert not nginx.certificate
    started.add(16)
    monkeypatch.setattr(nginx.configurations, "take_up", taken.append)
    for times in (1, 2):  # as long as nginx has not taken it up
        complete(loop, nginx.reload(plans.make(), configuration))
        assert len(taken) == times
