"""Whether the application runs a scheduler."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from docker_flask.worker import schedulers

NAME = "apscheduler.schedulers.base"


class BaseScheduler:
    """As in APScheduler 3."""

    def __init__(self, running: bool) -> None:
        self.running = running


class Hostile:
    """As Werkzeug's LocalProxy outside of a request."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise AssertionError


@pytest.fixture
def apscheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(NAME)
    module.BaseScheduler = BaseScheduler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, NAME, module)


def test_without_apscheduler_nothing_is_imported() -> None:
    assert not schedulers.is_running()
    assert NAME not in sys.modules


@pytest.mark.usefixtures("apscheduler")
@pytest.mark.parametrize("running", [True, False])
def test_a_scheduler_counts_if_it_runs(running: bool) -> None:
    class Background(BaseScheduler):
        """As BackgroundScheduler is one."""

    things = [Background(running), Hostile()]
    assert schedulers.is_running() is running
    assert len(things) == 2


@pytest.mark.usefixtures("apscheduler")
def test_apscheduler_without_a_scheduler() -> None:
    assert not schedulers.is_running()
