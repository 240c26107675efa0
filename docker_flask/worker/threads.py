"""How many threads of a uWSGI worker take requests: more while requests wait and CPUs do not.

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

# With this much of a CPU asked for by the first thread, or by several, more would soon only wait
# for it. Less for the first, because what a thread waits for its CPU is counted when it gets it,
# which may be a period of a CPU quota (0.1 s) later than it is measured; and because another worker
# helps as well (supervisor/worker_pool.py). Several that only work ask for a whole one, as Python
# runs one of them at a time; and several that wake at the same time wait for each other.
FULL, FULL_OF_SEVERAL = 0.5, 1.0
# For how long (s) that is measured.
MEASURED = 0.25
# How many times as many threads there are then, or all where fewer than two such steps are left:
# many that wake at the same time wait for each other, which asks for a CPU, too.
STEP = 4
# Seconds without use for half of the threads after which that half takes no more requests.
CALM = 10.0


class Threads:
    """The threads of the worker that this is called in.

    number: how many take requests.
    """

    def __init__(
        self,
        most: int,
        memory: int,
        queue: int,
        have: Callable[[int], int] | None = None,
        ran: Callable[[int], float] = process.ran,
        own_memory: Callable[[int], int] = process.own_memory,
    ) -> None:
        """most: how many there may be; memory (bytes): what all workers may take together; queue:
        descriptor of the socket where requests wait; have: makes there be so many, and returns how
        many there are; ran, own_memory: of a process, by its pid."""
        self.number = 1
        self._most, self._memory, self._queue = most, memory, queue
        self._have = have or ctypes.CDLL(None).docker_flask_threads
        self._ran_of, self._own_memory = ran, own_memory
        self._at_first = own_memory(os.getpid())
        # What the worker had run when requests were seen to wait, and when that was.
        self._ran, self._seen = 0.0, 0.0
        # Most requests at a time since then.
        self._peak, self._since = 0, time.monotonic()

    def look(self, busy: int) -> None:
        """See whether more would help, or fewer be enough; busy: requests that are being served."""
        now = time.monotonic()
        self._peak = max(self._peak, busy)
        if now - self._since >= CALM:
            if 2 * self._peak <= self.number > 1:
                self.number = self._have(max(1, self.number // 2))
            self._peak, self._since = busy, now
        if busy < self.number or self.number == self._most or not anyone_waits(self._queue):
            self._seen = 0.0
            return
        took = now - self._seen
        if self._seen and took < MEASURED:
            return
        ran = self._ran_of(os.getpid())
        full = FULL if self.number == 1 else FULL_OF_SEVERAL
        if self._seen and ran - self._ran < full * took:
            self.number = self._have(self._more())
        self._ran, self._seen = ran, now

    def _more(self) -> int:
        """How many are to be next: as many as now where the memory has no room for more."""
        step = min(STEP * self.number, self._most)
        most = self._most if STEP * step > self._most else step
        taken = max(0, self._own_memory(os.getpid()) - self._at_first)
        room = self._memory // _workers() - self._at_first
        return next((n for n in (most, step) if n * taken <= room * self.number), self.number)


def _workers() -> int:
    """Processes that this one's parent has, itself among them."""
    parent = os.getppid()
    try:
        return len(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()) or 1
    except OSError:  # the kernel does not list them
        return os.cpu_count() or 1
