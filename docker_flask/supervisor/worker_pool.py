"""Decides the number of workers: more while requests wait and a CPU is free, fewer afterwards.

uWSGI's own algorithms (`cheaper-algo`) also add workers while all CPUs are busy, which makes
nothing faster, and they know the memory of a worker only from measurements in each request.
"""

import math
import time
from collections.abc import Collection

from docker_flask import process
from docker_flask.configuration import defaults
from docker_flask.configuration.origin import brief
from docker_flask.configuration.plan import Plan

# Seconds between two checks.
INTERVAL = 0.5
# Load of the CPUs (running and waiting workers) above which one more worker would only wait, too.
MAX_LOAD = 0.8
# Checks in a row with waiting requests and a free CPU, before workers are added.
WAITING_CHECKS = 3
# Checks in a row with half of the workers idle, before this half is removed.
IDLE_CHECKS = 20
# Seconds that the server gets to execute an order.
ORDER_TIMEOUT = 4


class WorkerPool:
    """The workers of one generation; memory: private bytes of one, 0 before the first one loads."""

    def __init__(self, plan: Plan) -> None:
        self.memory = 0
        self._plan = plan
        # Seconds that each worker ran or waited for a CPU.
        self._ran: dict[int, float] = {}
        self._checked_at = time.monotonic()
        self._waiting_checks = self._idle_checks = 0
        # Number of workers after the last order, and until when the server may execute the order.
        self._ordered, self._ordered_until = 0, 0.0

    @property
    def _room(self) -> int:
        """Number of workers for which there is memory."""
        total = defaults.worker_memory(self._plan.limits)
        return total // (self.memory or defaults.WORKER_MEMORY)

    @property
    def _maximum(self) -> int:
        settings = self._plan.settings
        return max(settings.first_workers, min(settings.web_concurrency, self._room))

    def describe(self) -> str:
        """The range of the number of workers, and the reasons for it, for the log."""
        origins, settings = self._plan.origins, self._plan.settings
        reason = brief(origins["web_concurrency"])
        if self._room < settings.web_concurrency:
            size = math.ceil((self.memory or defaults.WORKER_MEMORY) / (1 << 20))
            reason = f"half of the {self._plan.limits.memory_reason} at {size} MiB a worker"
        numbers = dict.fromkeys([f"{settings.first_workers}", f"{self._maximum}"])
        reasons = dict.fromkeys([brief(origins["uwsgi_cheaper"]), reason])
        each = f" of {settings.threads} threads" if settings.threads > 1 else ""
        plural = "" if self._maximum == 1 else "s"
        return f"{' to '.join(numbers)} worker{plural}{each} ({', '.join(reasons)})"

    def change(self, pids: Collection[int], requests: int, keep: bool = False) -> int:
        """The number of workers to add, or to remove if negative; call every INTERVAL.

        pids: of the living workers. requests: number of requests that wait or run. keep: remove no
        worker, because it may have WebSockets.
        """
        count, each = len(pids), self._plan.sizing.requests_per_worker
        minimum = self._plan.settings.first_workers
        busy = self._busy_cpus(pids if requests > count * each else ())
        helps = requests > count * each and busy < MAX_LOAD * self._plan.limits.cpus
        self._waiting_checks = self._waiting_checks + 1 if helps else 0
        is_idle = 2 * requests <= count and not keep
        self._idle_checks = self._idle_checks + 1 if is_idle else 0
        if count != self._ordered and time.monotonic() < self._ordered_until:
            return 0
        change = 0
        if self._waiting_checks >= WAITING_CHECKS:
            self.memory = max(self.memory, sum(map(process.own_memory, pids)) // max(1, count))
            wanted = max(2 * count, minimum)
            change = max(0, min(wanted, math.ceil(requests / each), self._maximum) - count)
        elif self._idle_checks >= IDLE_CHECKS:
            self._idle_checks = 0
            change = min(0, max(minimum, count // 2) - count)
        self._ordered = count + change
        self._ordered_until = time.monotonic() + ORDER_TIMEOUT if change else 0.0
        return change

    def _busy_cpus(self, pids: Collection[int]) -> float:
        """CPUs that these processes used or waited for since the last check; 0 at the first."""
        now, ran = time.monotonic(), {pid: process.ran(pid) for pid in pids}
        demand = sum(seconds - self._ran.get(pid, 0.0) for pid, seconds in ran.items())
        busy = demand / max(now - self._checked_at, 0.001)
        is_known, self._ran, self._checked_at = bool(self._ran), ran, now
        return busy if is_known else 0.0
