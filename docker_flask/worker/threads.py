"""The number of threads of a uWSGI worker: more while requests wait and CPUs are idle.

The watchdog of each worker calls `look`; threads_plugin.c adds and removes the threads. A view that
waits for something else needs a thread for each request, and little more. A view that computes
gains nothing from threads, because Python runs one at a time.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

from docker_flask import process
from docker_flask.connections import anyone_waits

# If the first thread, or several threads, need at least this part of a CPU, more threads would only
# wait for the CPU. The limit is lower for the first thread, for two reasons: the kernel counts the
# time that a thread waits for a CPU when the wait ends, which may be one period of a CPU quota
# (0.1 s) after the measurement; and another worker helps as well (supervisor/worker_pool.py).
# Several threads that compute need a whole CPU, because Python runs one of them at a time; and
# threads that wake at the same time wait for each other.
FULL, FULL_OF_SEVERAL = 0.5, 1.0
# If the quota of the container stopped its processes for this part of the time, its CPUs are not
# idle, though this worker may have waited for nginx meanwhile.
MAX_THROTTLED = 0.25
# Seconds of a measurement.
MEASURED = 0.25
# The factor of a step to more threads. If fewer than two steps are left, the step leads to the
# maximum: many threads that wake at the same time wait for each other, and seem to need a CPU.
STEP = 4
# If three quarters of the threads are unused for this many seconds, half of the threads take no
# more requests. A quarter stays free, because slow clients may hold the used threads for long.
CALM, CALM_SHARE = 10.0, 4


class Threads:
    """The threads of this worker; number: those that take requests."""

    def __init__(
        self,
        max_number: int,
        max_memory: int,
        queue: int,
        set_number: Callable[[int], int] | None = None,
        ran: Callable[[int], float] = process.ran,
        own_memory: Callable[[int], int] = process.own_memory,
        throttled: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """max_number: of threads; max_memory (bytes): of all workers together; queue: descriptor of
        the socket where requests wait; set_number: of threads, returns their new number; ran,
        own_memory: of a process, by its pid; throttled: see the function."""
        self.number = 1
        self._max_number, self._max_memory, self._queue = max_number, max_memory, queue
        self._set_number = set_number or ctypes.CDLL(None).docker_flask_threads
        self._ran_of, self._own_memory, self._throttled_of = ran, own_memory, throttled
        self._at_first = own_memory(os.getpid())
        # At the last look with waiting requests: the worker's running time, the time that the quota
        # took, and the time.
        self._ran, self._throttled, self._seen = 0.0, 0.0, 0.0
        # The maximum of requests at a time, since when.
        self._peak, self._since = 0, time.monotonic()

    def look(self, busy: int) -> None:
        """Add or remove threads if this helps; busy: threads that serve a request."""
        now = time.monotonic()
        self._peak = max(self._peak, busy)
        if now - self._since >= CALM:
            if CALM_SHARE * self._peak <= self.number > 1:
                self.number = self._set_number(max(1, self.number // 2))
            self._peak, self._since = busy, now
        if busy < self.number or self.number == self._max_number or not anyone_waits(self._queue):
            self._seen = 0.0
            return
        took = now - self._seen
        if self._seen and took < MEASURED:
            return
        ran, throttled = self._ran_of(os.getpid()), self._throttled_of()
        full = FULL if self.number == 1 else FULL_OF_SEVERAL
        has_cpu = throttled - self._throttled < MAX_THROTTLED * took
        if self._seen and has_cpu and ran - self._ran < full * took:
            self.number = self._set_number(self._more())
        self._ran, self._throttled, self._seen = ran, throttled, now

    def _more(self) -> int:
        """The next number of threads; the present number if the memory has no room for more."""
        step = min(STEP * self.number, self._max_number)
        largest = self._max_number if STEP * step > self._max_number else step
        taken = max(0, self._own_memory(os.getpid()) - self._at_first)
        room = self._max_memory // _workers() - self._at_first
        return next((n for n in (largest, step) if n * taken <= room * self.number), self.number)


def throttled(cpu_statistics: str) -> float:
    """Seconds for which the quota has stopped the container, summed over its CPUs; 0 if unknown.

    cpu_statistics: a file of the cgroup (https://docs.kernel.org/scheduler/sched-bwc.html).
    """
    try:
        lines = Path(cpu_statistics).read_text().splitlines() if cpu_statistics else []
    except OSError:
        return 0.0
    found = dict(line.partition(" ")[::2] for line in lines)
    # Version 2 of cgroups, and version 1.
    return int(found.get("throttled_usec", 0)) / 1e6 or int(found.get("throttled_time", 0)) / 1e9


def _workers() -> int:
    """Workers: the children of this process's parent."""
    parent = os.getppid()
    try:
        return len(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()) or 1
    except OSError:  # the kernel has no such list
        return os.cpu_count() or 1
