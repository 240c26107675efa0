"""Threads that requests have started and that outlive them: for mail after the response, say.

Process 1 lets them end before it stops a worker, and logs which of them it cuts.
"""

import os
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any
from weakref import WeakSet

from docker_flask.worker.find import places

# Their threads end with their connections.
LIBRARIES = {"engineio", "simple_websocket"}
# Functions in which a thread waits for work, and their names for the queue of this work; modules in
# which threads wait.
POOL = ("concurrent.futures.thread", "_worker")
IDLE = {POOL: "work_queue", ("queue", "get"): "self"}
WAITING = {"threading", "queue", "gevent"}
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
        if late:
            self.own.update(filter(_is_of_library, late))
            late = [thread for thread in late if thread not in self.own]
        self._seen = -1 if late else seen
        if not late and not self.lines:
            return 0
        now, frames = time.monotonic(), places.frames()
        stacks = {thread: list(places.stack(frames.get(thread.ident))) for thread in late}
        working = {thread: stack for thread, stack in stacks.items() if not _is_idle(stack)}
        self._since = {
            thread: now if POOL in map(_function, stack) else self._since.get(thread, now)
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


def _is_of_library(thread: threading.Thread) -> bool:
    module = str(getattr(getattr(thread, "_target", None), "__module__", ""))
    return module.partition(".")[0] in LIBRARIES


def _function(frame: FrameType) -> tuple[str, str]:
    """The module and the name of a function."""
    return str(frame.f_globals.get("__name__")), frame.f_code.co_name


def _is_idle(stack: list[FrameType]) -> bool:
    """True for a thread that waits for work."""
    for frame in stack:
        if name := IDLE.get(_function(frame)):
            queue = frame.f_locals.get(name)
            # Queue.qsize takes a lock.
            size: Any = getattr(queue, "_qsize", None) or getattr(queue, "qsize", None)
            return not (size and size())
        if _function(frame)[0].partition(".")[0] not in WAITING:
            break
    return False
