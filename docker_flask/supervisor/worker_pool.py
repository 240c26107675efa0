"""Decides the number of workers: more while requests wait and a CPU is free, fewer afterwards.

uWSGI's own algorithms (`cheaper-algo`) also add workers while all CPUs are busy, which makes
nothing faster, and they know the memory of a worker only from measurements in each request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from docker_flask import process
from docker_flask.configuration import defaults
from docker_flask.configuration.plan import Plan

# Seconds between two checks of a pool, and between two checks while more workers could help.
RESIZE_INTERVAL, SHORT_RESIZE_INTERVAL = 1.0, 0.25
# Load of the CPUs (running and waiting workers) above which one more worker would only wait, too.
MAX_LOAD = 0.8
# Checks in a row with waiting requests and a free CPU, before workers are added.
WAITING_CHECKS = 3
# Checks in a row with half of the workers idle, before this half is removed.
IDLE_CHECKS = 10
# Seconds that the server gets to execute an order.
ORDER_TIMEOUT = 4


class WorkerPool:
    """The workers of one generation.

    new_memory: private memory (bytes) of a new worker, 0 before the first worker has loaded.
    pause: seconds until the next check. at_rest: True if this check is needed only if a request
    waits.
    """

    def __init__(
        self,
        plan: Plan,
        ran: Callable[[int], float] = process.ran,
        own_memory: Callable[[int], int] = process.own_memory,
    ) -> None:
        """ran: seconds that a process ran or waited for a CPU; own_memory: its private bytes."""
        self.new_memory = self._memory = 0
        self.pause = RESIZE_INTERVAL
        self.at_rest = False
        self._plan = plan
        self._ran_of, self._own_memory = ran, own_memory
        self._ran: dict[int, float] = {}
        self._checked_at = time.monotonic()
        self._waiting_checks = self._idle_checks = 0
        # Number of workers after the last order, and the time until which the server may execute
        # it.
        self._ordered, self._ordered_until = 0, 0.0

    @property
    def minimum(self) -> int:
        """Minimum number of workers."""
        return self._plan.settings.first_workers

    @property
    def maximum(self) -> int:
        """Maximum number of workers."""
        return max(self.minimum, min(self._plan.settings.web_concurrency, self._room))

    @property
    def _room(self) -> int:
        """Number of workers for which there is memory."""
        each = max(self.new_memory, self._memory) or defaults.WORKER_MEMORY
        return defaults.worker_memory(self._plan.limits) // each

    def describe(self) -> str:
        """The range of the number of workers, and the reasons for it, for the log."""
        origins, limits = self._plan.origins, self._plan.limits
        reason = origins["web_concurrency"].brief
        if self._room < self._plan.settings.web_concurrency:
            size = math.ceil((self.new_memory or defaults.WORKER_MEMORY) / (1 << 20))
            reason = f"half of the {limits.memory_reason} at {size} MiB a worker"
        numbers = dict.fromkeys([f"{self.minimum}", f"{self.maximum}"])
        reasons = dict.fromkeys([origins["uwsgi_cheaper"].brief, reason])
        threads = self._plan.settings.threads
        each = f" of {threads} threads" if threads > 1 else ""
        return f"{' to '.join(numbers)} workers{each} ({', '.join(reasons)})"

    def change(self, pids: Collection[int], requests: int, keep: bool = False) -> int:
        """The number of workers to add, or to remove if negative; call again after `pause`.

        pids: of the living workers. requests: number of requests that wait or run. keep: remove no
        worker, because it may have WebSockets.
        """
        count, each = len(pids), self._plan.sizing.requests_per_worker
        waits = requests > count * each
        helps = waits and self._busy_cpus(pids) < MAX_LOAD * self._plan.limits.cpus
        # While no request waits, the times of the processes are not needed.
        self._ran = self._ran if waits else {}
        self._waiting_checks = self._waiting_checks + 1 if helps else 0
        self.pause = SHORT_RESIZE_INTERVAL if helps and count < self.maximum else RESIZE_INTERVAL
        # At least half of the workers are idle, with any number of threads.
        is_idle = 2 * requests <= count and not keep
        self._idle_checks = self._idle_checks + 1 if is_idle else 0
        if count != self._ordered and time.monotonic() < self._ordered_until:
            return 0
        change = 0
        if self._waiting_checks >= WAITING_CHECKS:
            self._memory = sum(map(self._own_memory, pids)) // max(1, count)
            wanted = max(2 * count, self.minimum)
            change = max(0, min(wanted, math.ceil(requests / each), self.maximum) - count)
        elif self._idle_checks >= IDLE_CHECKS:
            self._idle_checks = 0
            change = min(0, max(self.minimum, count // 2) - count)
        self._ordered = count + change
        self._ordered_until = time.monotonic() + ORDER_TIMEOUT if change else 0.0
        self.at_rest = not waits and self._ordered <= self.minimum
        return change

    def _busy_cpus(self, pids: Collection[int]) -> float:
        """CPUs that these processes used or waited for since the last check; 0 at the first."""
        now, ran = time.monotonic(), {pid: self._ran_of(pid) for pid in pids}
        demand = sum(seconds - self._ran.get(pid, 0.0) for pid, seconds in ran.items())
        busy = demand / max(now - self._checked_at, 0.001)
        is_known, self._ran, self._checked_at = bool(self._ran), ran, now
        return busy if is_known else 0.0
