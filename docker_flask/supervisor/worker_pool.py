"""How many workers serve: more while requests wait and the CPUs have room, fewer afterwards.

uWSGI's own ways to decide this (`cheaper-algo`) add workers also where the CPUs are full, which
makes nothing faster, and know of memory only what they measure in each request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from docker_flask import process
from docker_flask.configuration import sizing
from docker_flask.configuration.plan import Plan

# Seconds between two looks at a pool, and between two while more workers might help.
LOOK, QUICK_LOOK = 1.0, 0.25
# The part of the CPUs that the workers use or wait for; above it, one more would only wait, too.
FULL = 0.8
# Looks in a row at which requests waited and a CPU was free, before workers are added; and at which
# half of the workers had nothing to do, before that half goes.
WAITING_LOOKS, IDLE_LOOKS = 3, 10
# Seconds that the server gets to follow an order.
ORDER_PATIENCE = 4


class WorkerPool:
    """The workers of one generation.

    new_memory: bytes that a worker had for itself when it was new, 0 until one is loaded.
    pause: seconds until the next look. at_rest: that look is needed only if a request waits then.
    """

    def __init__(
        self,
        plan: Plan,
        ran: Callable[[int], float] = process.ran,
        own_memory: Callable[[int], int] = process.own_memory,
    ) -> None:
        """ran: seconds that a process ran or waited for a CPU; own_memory: its bytes."""
        self.new_memory = self._memory = 0
        self.pause = LOOK
        self.at_rest = False
        self._plan = plan
        self._ran_of, self._own_memory = ran, own_memory
        self._ran: dict[int, float] = {}
        self._looked_at = time.monotonic()
        self._waiting_looks = self._idle_looks = 0
        # How many workers the last order asked for, and until when the server may take for it.
        self._ordered, self._ordered_until = 0, 0.0

    @property
    def minimum(self) -> int:
        """Workers that there are at least."""
        return self._plan.settings.first_workers

    @property
    def maximum(self) -> int:
        """Workers that there may be."""
        return max(self.minimum, min(self._plan.settings.web_concurrency, self._room))

    @property
    def _room(self) -> int:
        """Workers that the memory has room for."""
        each = max(self.new_memory, self._memory) or sizing.WORKER_MEMORY
        return sizing.worker_memory(self._plan.limits) // each

    def describe(self) -> str:
        """How many workers there may be, and why, for the log."""
        origins, limits = self._plan.origins, self._plan.limits
        reason = origins["web_concurrency"].brief
        if self._room < self._plan.settings.web_concurrency:
            size = math.ceil((self.new_memory or sizing.WORKER_MEMORY) / (1 << 20))
            reason = f"half of the {limits.memory_source} at {size} MiB a worker"
        numbers = dict.fromkeys([f"{self.minimum}", f"{self.maximum}"])
        reasons = dict.fromkeys([origins["uwsgi_cheaper"].brief, reason])
        return f"{' to '.join(numbers)} workers ({', '.join(reasons)})"

    def change(self, pids: Collection[int], requests: int, queued: bool) -> int:
        """How many workers to add, or to take away if negative; to be asked again after `pause`.

        pids: the workers that live. requests: how many wait or are being answered. queued: True if
        any of them waits for a worker.
        """
        count, each = len(pids), self._plan.sizing.requests_per_worker
        # Where threads may be added, they are, before a request that is not queued needs a worker.
        waits = requests > count * each and (queued or bool(self._plan.settings.threads))
        helps = waits and self._busy_cpus(pids) < FULL * self._plan.limits.cpus
        # While no request waits, nobody needs to know how long the processes ran.
        self._ran = self._ran if waits else {}
        self._waiting_looks = self._waiting_looks + 1 if helps else 0
        self.pause = QUICK_LOOK if helps and count < self.maximum else LOOK
        # Half of the workers are idle then, however many threads they have.
        self._idle_looks = self._idle_looks + 1 if 2 * requests <= count else 0
        if count != self._ordered and time.monotonic() < self._ordered_until:
            return 0
        change = 0
        if self._waiting_looks >= WAITING_LOOKS:
            self._memory = sum(map(self._own_memory, pids)) // max(1, count)
            wanted = max(2 * count, self.minimum)
            change = max(0, min(wanted, math.ceil(requests / each), self.maximum) - count)
        elif self._idle_looks >= IDLE_LOOKS:
            self._idle_looks = 0
            change = min(0, max(self.minimum, count // 2) - count)
        self._ordered = count + change
        self._ordered_until = time.monotonic() + ORDER_PATIENCE if change else 0.0
        self.at_rest = not waits and self._ordered <= self.minimum
        return change

    def _busy_cpus(self, pids: Collection[int]) -> float:
        """CPUs that these processes have asked for since the last look; 0 if that was none."""
        now, ran = time.monotonic(), {pid: self._ran_of(pid) for pid in pids}
        asked_for = sum(seconds - self._ran.get(pid, 0.0) for pid, seconds in ran.items())
        busy = asked_for / max(now - self._looked_at, 0.001)
        is_known, self._ran, self._looked_at = bool(self._ran), ran, now
        return busy if is_known else 0.0
