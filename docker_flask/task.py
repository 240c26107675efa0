"""Work that waits between its steps and does not hold up the supervisor.

A task is a generator. It yields what it waits for, and the supervisor's loop advances it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from docker_flask.loop import Loop

# How often (s) a task is advanced while it waits for what no event announces.
TICK = 0.02


@dataclass(frozen=True)
class Until:
    """Wait until `done` returns true, but no longer than so many seconds."""

    done: Callable[[], bool]
    seconds: float


# The steps of a task: each yields what to wait for, and gets back whether `done` was true.
T = TypeVar("T")
Steps = Generator[Until, bool, T]


def pause(seconds: float) -> Until:
    """Wait for so many seconds."""
    return Until(lambda: False, seconds)


class Task:
    """One run of a generator of steps; begins at once."""

    def __init__(self, steps: Steps[None]) -> None:
        self._steps = steps
        self._deadline = 0.0
        self._until: Until | None = None
        self._resume(None)

    def advance(self) -> bool:
        """Take all steps that wait for nothing any more; returns True after the last one.

        Raises what the steps raise.
        """
        while self._until:
            done = self._until.done()
            if not done and time.monotonic() < self._deadline:
                return False
            self._resume(done)
        return True

    def cancel(self) -> None:
        """End the task where it is."""
        self._until = None
        self._steps.close()

    def _resume(self, done: bool | None) -> None:
        try:
            self._until = next(self._steps) if done is None else self._steps.send(done)
            self._deadline = time.monotonic() + self._until.seconds
        except BaseException as end:
            self._until = None
            if not isinstance(end, StopIteration):
                raise


def finish(loop: Loop, *steps: Steps[None]) -> None:
    """Run tasks beside each other until the last has ended; the loop goes on meanwhile."""
    tasks = [Task(each) for each in steps]

    def all_ended() -> bool:
        return not [task for task in tasks if not task.advance()]

    loop.wait(all_ended, float("inf"), tick=TICK)
