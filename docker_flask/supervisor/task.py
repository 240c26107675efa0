"""Work in steps that does not block the supervisor between the steps.

A task is a generator. It yields the conditions that it waits for, and the loop advances it.
"""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from docker_flask.shared.loop import Loop

# Seconds between two checks of a condition that has no event.
TICK = 0.02
# Seconds that reading the files of the user may take.
FILES_TIMEOUT = 10.0


@dataclass(frozen=True)
class Until:
    """Wait until `done` returns true or the seconds are over."""

    done: Callable[[], bool]
    seconds: float


T = TypeVar("T")
Steps = Generator[Until, None, T]


class Task:
    """One run of a generator of steps; the first step runs immediately."""

    def __init__(self, steps: Steps[None]) -> None:
        self._steps = steps
        self._deadline = 0.0
        self._until: Until | None = None
        self._resume()

    def advance(self) -> bool:
        """Run the steps whose condition is fulfilled; returns True after the last step.

        Raises the exceptions of the steps.
        """
        while self._until:
            if not self._until.done() and time.monotonic() < self._deadline:
                return False
            self._resume()
        return True

    def cancel(self) -> None:
        """End the task at its current step."""
        self._until = None
        self._steps.close()

    def _resume(self) -> None:
        try:
            self._until = next(self._steps)
            self._deadline = time.monotonic() + self._until.seconds
        except BaseException as end:
            self._until = None
            if not isinstance(end, StopIteration):
                raise


def in_thread(loop: Loop, function: Callable[[], T], seconds: float) -> Steps[T]:
    """Run a function that may block, because it reads files of the user's.

    Raises what the function raises, OSError if no thread can start, and TimeoutError after a number
    of seconds. Then the thread stays behind, because nothing can end it.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            errors.append(error)
        loop.wake()

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as error:
        raise OSError(f"{error}; raise the limit of processes (--pids-limit)") from None
    yield Until(lambda: bool(results or errors), seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def complete(loop: Loop, steps: Steps[T]) -> T:
    """Run all steps and return their result; the loop handles events meanwhile."""
    try:
        while True:
            until = next(steps)
            loop.wait(until.done, until.seconds, tick=TICK)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def finish(loop: Loop, *steps: Steps[None]) -> None:
    """Run tasks in parallel until the last one ends; the loop handles events meanwhile."""
    tasks = [Task(each) for each in steps]
    loop.wait(lambda: not [it for it in tasks if not it.advance()], float("inf"), tick=TICK)
