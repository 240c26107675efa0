"""Who asks for the status, and when."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docker_flask.cli import status as command
from docker_flask.shared import control, process, runtime_folder
from docker_flask.supervisor.service import Phase
from docker_flask.supervisor.status import PATIENCE, Status

FACTS: dict[str, Any] = {
    "state": "serving",
    "problem": "",
    "saturated_since": 0,
    "last_reload": [0, "reload failed: \x1b[2J\nTraceback"],
    "memory": {"used": 1, "limit": 1, "largest_worker": 0, "kills": 0},
    "last_minute": {"seconds": 60, "statuses": {}},
    "certificate": {"names": ["example.com"], "ends": 1},
    "application": "app\x1b[2J:app (why)",
    "generation": 2,
    "since": 0,
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Status, Any]:
    """The status of a server with the workers 7 and 8, and what they have told."""
    monkeypatch.setattr(process, "alive", lambda _: True)
    server = SimpleNamespace(workers=lambda: {7, 8}, running={})
    generation = SimpleNamespace(servers=[server])
    service: Any = SimpleNamespace(
        runtime=tmp_path, generations=lambda: [generation], phase=Phase.SERVING
    )
    status = Status(service, SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr(
        status, "facts", lambda: {"silent": status._silent(), "running": status._running()}
    )
    return status, server.running


def test_two_who_ask_get_what_workers_told_the_first(
    asked: tuple[Status, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker hangs, so the first one waits when the second one asks."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    status, told = asked
    answers: list[str] = []
    status.ask(answers.append)
    told[7] = now + 0.5, []
    now += 1
    status.ask(answers.append)
    status.advance()
    assert not answers
    now += PATIENCE - 0.9
    status.advance()
    assert [json.loads(each)["silent"] for each in answers] == [[8], [8]]
    status.ask(answers.append)
    told[7] = told[8] = now, []
    status.advance()
    assert json.loads(answers[2])["silent"] == []
    assert not status.answers


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker-flask status` in a container with a server."""
    monkeypatch.setattr("sys.argv", ["docker-flask", "status"])
    monkeypatch.setattr(runtime_folder, "running_server", lambda: "folder")


@pytest.mark.usefixtures("folder")
def test_the_screen_shows_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "ask_json", lambda *_: {**FACTS})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(used=1, total=2))
    assert command.main() == 0
    shown = capsys.readouterr().out
    assert shown.startswith("serving app?[2J:app since ")
    assert ": failed, the log has the reason)" in shown
    assert "example.com's certificate has expired      /data 50 % full" in shown


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("facts", [7, [1], {"state": 1}, FACTS | {"memory": []}])
def test_who_took_the_control_socket(monkeypatch: pytest.MonkeyPatch, facts: Any) -> None:
    monkeypatch.setattr(control, "ask_json", lambda *_: facts)
    with pytest.raises(OSError, match="the response to 'status' is not one of process 1"):
        command.main()


@pytest.mark.usefixtures("folder")
def test_a_server_that_ends_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "ask_json", lambda *_: None)
    assert command.main() == 1
    assert "the production server has ended" in capsys.readouterr().err
