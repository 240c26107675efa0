"""Each application in both modes: its own steps, then a reload, a stop, and what is left then."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.support.foreign_apps import FOLDER, MODES, Serve, step_names

NAMES = sorted(path.parent.name for path in FOLDER.glob("*/steps.py"))


@pytest.mark.timeout(600)  # with the build of an image
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_application(serve: Serve, name: str, mode: str) -> None:
    steps = import_module(f"tests.foreign_apps.{name}.steps")
    served = serve(steps.APPLICATION, mode)
    with served.step("start"):
        if steps.APPLICATION.server:
            served.start_server()
        served.start()
    for step in step_names(steps):
        with served.step(step.replace("_", " ")):
            getattr(steps, step)(served)
    with served.step("reload"):
        served.reload()
        steps.check(served)
    with served.step("stop"):
        served.replace()
        steps.check(served)
        served.stop()
