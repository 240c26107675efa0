"""The screen of `docker-flask status`."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from docker_flask.cli import status

FACTS: dict[str, Any] = {
    "state": "serving",
    "problem": "",
    "application": "app:app",
    "generation": 1,
    "since": 0.0,
    "saturated_since": 0.0,
    "last_reload": None,
    "memory": {"used": 0, "limit": 0, "largest_worker": 0, "kills": 0},
    "last_minute": {"statuses": {}, "seconds": 60},
    "certificate": None,
    "data_full": 0.0,
}


def test_a_reload_that_failed_takes_no_further_lines() -> None:
    problem = 'reload failed: Traceback\n  File "app.py"\nImportError: no'
    first, second, *_ = status.screen(FACTS | {"last_reload": (0.0, problem)})
    assert first.startswith("serving app:app since ")
    assert first.endswith(": failed, the log has the reason)")
    assert second.startswith("memory")


def test_a_volume_that_hangs_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()

    def hang(_: str) -> None:
        hangs.wait(20)
        raise OSError

    monkeypatch.setattr("shutil.disk_usage", hang)
    monkeypatch.setattr(status, "DISK_TIMEOUT", 0.05)
    try:
        facts = FACTS | {"data_full": status._share_of_disk()}
    finally:
        hangs.set()
    assert facts["data_full"] is None
    assert "limits    /data does not respond" in list(status.screen(facts))
