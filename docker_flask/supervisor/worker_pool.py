"""How many workers serve: more while requests wait and CPUs do not, fewer when that is over.

uWSGI's own ways to decide it (`cheaper-algo`) add workers also where the CPUs are what is short,
which another worker can't help, and know no memory but what they measure in each request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from docker_flask import process
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.settings import WORKER_MEMORY, Settings
from docker_flask.servers import registry

# How often (s) a pool is looked at, and how often while more workers might help.
LOOK, HASTE = 1.0, 0.25
# With this much of the CPUs asked for by the workers, another one would only wait for a CPU.
FULL = 0.8
# Looks in a row at which requests had to wait for no CPU, before there are more workers; and at
# which half of the workers had nothing to do, before that half goes.
WAITED, CALM = 3, 10
# Seconds that the server gets to do as told.
PATIENCE = 4


class Pool:
    """The workers of one generation.

    new: memory (bytes) that a worker had for itself when it was new, 0 until one is loaded.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        ran: Callable[[int], float] = process.ran,
        own_memory: Callable[[int], int] = process.own_memory,
    ) -> None:
        """ran, own_memory: of a process, by its pid."""
        self.new = self._size = 0
        self._settings = settings
        self._limits = limits
        self._ran_of, self._own_memory = ran, own_memory
        self._ran: dict[int, float] = {}
        self._looked_at = time.monotonic()
        self._waited = self._calm = 0
        # What was asked for last, and until when that may take.
        self._expected, self._patience = 0, 0.0
        # When to look again, in seconds; and whether it may be left out if nobody waits then.
        self.pause = LOOK
        self.at_rest = False

    @property
    def fewest(self) -> int:
        """Workers that there are at least."""
        return self._settings.first_workers

    @property
    def most(self) -> int:
        """Workers that there may be."""
        return max(self.fewest, min(self._settings.web_concurrency, self._room))

    @property
    def _room(self) -> int:
        """Workers that the memory has room for; its other half is for a reload."""
        return self._limits.memory // 2 // (max(self.new, self._size) or WORKER_MEMORY)

    def words(self, first: str, most: str) -> str:
        """How many there may be, and why.

        first, most: what decided how many there are to be at first, and at most.
        """
        if self._room < self._settings.web_concurrency:
            size = math.ceil((self.new or WORKER_MEMORY) / (1 << 20))
            most = f"half of the {self._limits.memory_source} at {size} MiB a worker"
        numbers = dict.fromkeys([f"{self.fewest}", f"{self.most}"])
        reasons = dict.fromkeys([first, most])
        return f"{' to '.join(numbers)} workers ({', '.join(reasons)})"

    def change(self, pids: Collection[int], requests: int, queued: bool) -> int:
        """How many workers there should be more, or fewer: to be asked again after `pause`.

        pids: the workers that live; requests: how many wait or are being served; queued: True if
        any of them waits for a worker.
        """
        count, each = len(pids), registry.each_at_once(self._settings)
        # Workers have more threads first, where they may.
        waits = requests > count * each and (queued or bool(self._settings.threads))
        helps = waits and self._busy(pids) < FULL * self._limits.cpus
        # While nothing waits, nobody need know what the processes ran.
        self._ran = self._ran if waits else {}
        self._waited = self._waited + 1 if helps else 0
        self.pause = HASTE if helps and count < self.most else LOOK
        # Then there are as many idle ones, whatever their number of threads.
        self._calm = self._calm + 1 if 2 * requests <= count else 0
        if count != self._expected and time.monotonic() < self._patience:
            return 0
        change = 0
        if self._waited >= WAITED:
            self._size = sum(map(self._own_memory, pids)) // max(1, count)
            wanted = min(max(2 * count, self.fewest), math.ceil(requests / each), self.most)
            change = max(0, wanted - count)
        elif self._calm >= CALM:
            self._calm = 0
            change = min(0, max(self.fewest, count // 2) - count)
        self._expected = count + change
        self.at_rest = not waits and self._expected <= self.fewest
        self._patience = time.monotonic() + PATIENCE if change else 0.0
        return change

    def _busy(self, pids: Collection[int]) -> float:
        """How many CPUs these processes would have used since they were asked about last, had they
        got them; 0 if they were not."""
        now, ran = time.monotonic(), {pid: self._ran_of(pid) for pid in pids}
        spent = sum(seconds - self._ran.get(pid, 0.0) for pid, seconds in ran.items())
        busy = spent / max(now - self._looked_at, 0.001)
        known, self._ran, self._looked_at = bool(self._ran), ran, now
        return busy if known else 0.0
