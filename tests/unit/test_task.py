"""Tasks: steps that wait, advanced from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from docker_flask.first_process.loop import Loop
from docker_flask.first_process.task import Steps, Task, Until, finish


def steps(
    log: list[str], done: Callable[[], bool] = lambda: False, seconds: float = 60.0
) -> Steps[None]:
    log.append("begun")
    log.append("done" if (yield Until(done, seconds)) else "timed out")


def test_a_task_waits_until_its_condition_is_true() -> None:
    log: list[str] = []
    task = Task(steps(log, lambda: "go" in log))
    assert not task.advance()
    assert log == ["begun"]
    log.append("go")
    assert task.advance()
    assert log == ["begun", "go", "done"]
    assert task.advance(), "a task that has ended stays so"


def test_what_a_task_raises_reaches_its_caller_and_ends_it() -> None:
    def failing() -> Steps[None]:
        yield Until(lambda: False, 0)
        raise RuntimeError("no")

    task = Task(failing())
    with pytest.raises(RuntimeError, match="no"):
        task.advance()
    assert task.advance()


def test_a_cancelled_task_cleans_up_and_takes_no_more_steps() -> None:
    log: list[str] = []

    def careful() -> Steps[None]:
        try:
            yield Until(lambda: False, 60)
            log.append("went on")
        finally:
            log.append("cleaned up")

    task = Task(careful())
    task.cancel()
    assert task.advance()
    assert log == ["cleaned up"]


def test_tasks_are_finished_beside_each_other(loop: Loop) -> None:
    log: list[str] = []
    begun = time.monotonic()
    finish(loop, steps(log, seconds=0.3), steps(log, seconds=0.3))
    assert log == ["begun", "begun", "timed out", "timed out"]
    assert time.monotonic() - begun < 0.55
