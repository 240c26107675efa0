"""The screen of `docker-flask status`."""

from __future__ import annotations

from typing import Any

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
