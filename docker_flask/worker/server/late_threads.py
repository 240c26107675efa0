"""Threads that requests have started and that outlive them: for mail after the response, say.

Process 1 lets them end before it stops a worker, and logs which of them it cuts.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any
from weakref import WeakSet

from docker_flask.worker.server import greenlets

# Libraries whose threads a stop need not wait for: they end with their connections, watch a
# database's server, or send errors until the process ends, and send the last ones by `atexit`.
LIBRARIES = {
    "engineio",
    "pymongo",
    "sentry_sdk",
    "simple_websocket",
}
# Modules that call the function with which a thread has started.
CALLERS = {
    "sentry_sdk.integrations.threading",
    "threading",
}
# The module in which a pool's thread waits for work; modules in which threads wait.
POOL = "concurrent.futures.thread"
WAITING = {"threading", "gevent"}
# Threads that the log names.
MAX_LINES = 20


class LateThreads:
    """The threads of a worker that started after the application was loaded, without idle ones.

    timeout: REQUEST_TIMEOUT. A thread that works for longer is a service of the application: the
    end of the worker does not wait for it. The work of a pool is always new. report: tells process
    1 for how many threads the end has to wait, and what to log if threads are cut.

    count: for how many the end has to wait. lines: for the log. own: threads that serve requests,
    and those from before.
    """

    def __init__(self, timeout: float, report: Callable[[int, list[str]], Any]) -> None:
        self.timeout = timeout
        self.count = 0
        self.lines: list[str] = []
        self.own: WeakSet[threading.Thread] = WeakSet()
        self._report = report
        self._folder = os.path.join(os.getcwd(), "")
        self._since: dict[threading.Thread, float] = {}
        # The number of threads at the last look, if all were own ones.
        self._seen = 0

    def start(self) -> None:
        """Leave out the threads that exist now."""
        self.own.update(_all())

    def check(self) -> None:
        """Look for new threads; at the end of each request, before process 1 sees this end."""
        if not self.count and len(threading._active) != self._seen:  # type: ignore[attr-defined]
            self.look()

    def look(self) -> int:
        """Look at the threads, and report changes; returns the new count."""
        seen = len(threading._active)  # type: ignore[attr-defined]
        late = [thread for thread in _all() if thread not in self.own]
        found = greenlets.stacks() if late else {}
        stacks = {thread: found.get(thread.ident, []) for thread in late}
        self.own.update(thread for thread, stack in stacks.items() if _is_of_library(stack))
        stacks = {thread: stack for thread, stack in stacks.items() if thread not in self.own}
        self._seen = -1 if stacks else seen
        if not stacks and not self.lines:
            return 0
        now = time.monotonic()
        working = {thread: stack for thread, stack in stacks.items() if not _is_idle(stack)}
        self._since = {
            thread: now if POOL in map(_module, stack) else self._since.get(thread, now)
            for thread, stack in working.items()
        }
        count = sum(now - since < self.timeout for since in self._since.values())
        lines = [self._line(thread, stack) for thread, stack in working.items()][:MAX_LINES]
        if (count, lines) != (self.count, self.lines):
            self.count, self.lines = count, lines
            self._report(count, lines)
        return count

    def _line(self, thread: threading.Thread, stack: list[FrameType]) -> str:
        users = [frame for frame in stack if frame.f_code.co_filename.startswith(self._folder)]
        place = "an unknown place"
        for frame in (users or stack)[:1]:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return f"a thread that a request started was cut in {place} ({thread.name[:100]})"


def _all() -> list[threading.Thread]:
    """The threads that Python's `threading` has started, which uWSGI's are not.

    No lock: the watchdog's thread may not use one that gevent has replaced.
    """
    threads = list(threading._active.values())  # type: ignore[attr-defined]
    return [thread for thread in threads if not isinstance(thread, threading._DummyThread)]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _is_of_library(stack: list[FrameType]) -> bool:
    """True if the function with which a thread has started is one of LIBRARIES."""
    modules = map(_module, reversed(stack))
    first = next((name for name in modules if name not in CALLERS), "")
    return first.partition(".")[0] in LIBRARIES


def _is_idle(stack: list[FrameType]) -> bool:
    """True for a thread that waits for work."""
    for frame in stack:
        if _module(frame) in (POOL, "queue"):
            return not any(map(_length, frame.f_locals.values()))
        if _module(frame).partition(".")[0] not in WAITING:
            break
    return False


def _length(value: Any) -> int:
    """How much work is in a queue; 0 if the value is none."""
    if isinstance(value, queue.Queue):
        return len(value.queue)  # its qsize() takes a lock
    return value.qsize() if isinstance(value, queue.SimpleQueue) else 0
