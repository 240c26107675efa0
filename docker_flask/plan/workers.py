"""How many workers and threads an application has.

benchmarks/reports/waiting.md and sizing.md have the measurements for these numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

from docker_flask.plan.limits import Limits
from docker_flask.plan.settings import Settings

# Memory (bytes) of a worker with a small Flask application, used until the first worker has loaded
# and is measured; and of a thread that has served requests.
WORKER_MEMORY, THREAD_MEMORY = 16 << 20, 128 << 10
# Workers for each CPU where their number is fixed: with greenlets, with THREADS, with Gunicorn.
FIXED = 2
# Without THREADS, the wide server has one worker a CPU, up to MAX_WIDE, with WIDE_THREADS threads
# each: 256 requests that wait on two CPUs. With fewer than MIN_THREADS it would help too little.
MAX_WIDE, WIDE_THREADS, MIN_THREADS = 8, 128, 16
# Processes other than workers: nginx, the supervisor, a command.
OTHER_PROCESSES = 10
NO_LIMIT = 1 << 22  # Linux allows no more processes


class _Choice(NamedTuple):
    """A number, and what decides it; of several, `min` takes the smallest."""

    number: int
    reason: str


@dataclass(frozen=True)
class Workers:
    """The workers of one generation.

    count, threads: of the server that always runs. wide_count, wide_threads: of the wide server,
    which runs while requests wait; 0 if there is none. reason: for these numbers, in the log.
    memory: bytes of a worker.
    """

    count: int
    threads: int = 1
    wide_count: int = 0
    wide_threads: int = 0
    reason: str = ""
    memory: int = WORKER_MEMORY

    @property
    def processes(self) -> int:
        """The maximum number of worker processes."""
        return self.count + self.wide_count

    @property
    def requests(self) -> int:
        """The maximum number of requests that run at the same time, one for a greenlet worker."""
        return self.count * self.threads + self.wide_count * self.wide_threads

    def describe(self) -> str:
        """The numbers and the reason for them, for the log."""
        words = f"{in_words(self.count, self.threads)} ({self.reason})"
        if self.wide_count:
            more = self.wide_count * self.wide_threads
            words += f"; {more} more requests at once while they wait"
        return words


def in_words(count: int, threads: int) -> str:
    """A number of workers, and of the threads of each."""
    plural = "" if count == 1 else "s"
    return f"{count} worker{plural}" + (f" of {threads} threads" if threads > 1 else "")


class _Room:
    """What fits into the limits of the container. memory: bytes of a worker."""

    def __init__(self, limits: Limits, memory: int) -> None:
        self.limits, self.memory = limits, memory
        # Half of the memory and of the processes: during a reload, two generations run.
        self._bytes = limits.memory // 2
        # Each server has a first process.
        self._processes = ((limits.processes or NO_LIMIT) - OTHER_PROCESSES) // 2 - 1

    def workers(self, wanted: _Choice, threads: int) -> _Choice:
        """The number of workers with these threads that fits, at least one."""
        size = math.ceil(self.memory / (1 << 20))
        half = f"half of the {self.limits.memory_reason} at {size} MiB a worker"
        by_memory = _Choice(max(1, self._bytes // self.memory), half)
        # A thread counts as a process, and each worker has a thread of the image's.
        count = max(1, self._processes // (threads + 1))
        by_processes = _Choice(count, f"limit of {self.limits.processes} processes")
        return min(wanted, by_memory, by_processes, key=itemgetter(0))

    def threads(self, wanted: int, workers: int, others: int = 0) -> int:
        """The threads that fit into each of some workers, up to a number.

        others: workers with one thread, which run beside them; the workers of the only server may
        need more than half of the memory.
        """
        share = self._bytes if others else self.limits.memory
        by_memory = (share - (workers + others) * self.memory) // (workers * THREAD_MEMORY)
        by_processes = (self._processes - 1 - 2 * others) // workers - 1
        # Each request has a connection to nginx, and opens files and connections of its own.
        by_descriptors = self.limits.descriptors // 4
        return max(0, min(wanted, by_memory, by_processes, by_descriptors))


def decide(
    settings: Settings,
    origins: Mapping[str, str],
    limits: Limits,
    memory: int = 0,
    only_one_server: str = "",
) -> Workers:
    """The workers for these settings in these limits.

    origins: of the settings, by the names of their fields. memory: bytes that the first worker
    took, 0 if none has loaded yet. only_one_server: why there may be no second server, if so.
    """
    memory = memory or WORKER_MEMORY
    found = _decide(settings, origins, _Room(limits, memory), only_one_server)
    return replace(found, memory=memory)


def _decide(
    settings: Settings, origins: Mapping[str, str], room: _Room, only_one_server: str
) -> Workers:
    chosen = {
        name: _Choice(number, origins[name])
        for name in ("web_concurrency", "uwsgi_cheaper")
        if (number := getattr(settings, name))
    }
    if settings.threads or settings.worker_class in ("gevent", "sync"):
        threads = settings.threads or 1
        few = _fixed(chosen, room, threads)
        return Workers(few.number, threads, reason=few.reason)
    if settings.app_server != "uwsgi":
        few = _fixed(chosen, room, MIN_THREADS)
        threads = room.threads(WIDE_THREADS * room.limits.whole_cpus // few.number, few.number)
        return Workers(few.number, max(threads, MIN_THREADS), reason=few.reason)
    return _narrow_and_wide(chosen, room, only_one_server)


def _fixed(chosen: Mapping[str, _Choice], room: _Room, threads: int) -> _Choice:
    """A number of workers that does not change: WEB_CONCURRENCY, UWSGI_CHEAPER, or two a CPU."""
    limits = room.limits
    by_cpus = _Choice(FIXED * limits.whole_cpus, limits.cpus_reason)
    few = chosen.get("web_concurrency") or chosen.get("uwsgi_cheaper")
    return few or room.workers(by_cpus, threads)


def _narrow_and_wide(chosen: Mapping[str, _Choice], room: _Room, only_one_server: str) -> Workers:
    """One worker a CPU, at least two because one request could block the other ones; each has one
    thread. In addition a wide server, or where there can be none, more threads."""
    limits, most, few = room.limits, chosen.get("web_concurrency"), chosen.get("uwsgi_cheaper")
    by_cpus = _Choice(max(2, limits.whole_cpus), limits.cpus_reason)
    wide = min(limits.whole_cpus, MAX_WIDE)
    if most:
        wide = min(wide, max(0, most.number - (few or by_cpus).number))
        few = few or _Choice(most.number - wide, most.reason)
    few = few or room.workers(by_cpus, 1)
    while wide and not only_one_server:
        threads = room.threads(WIDE_THREADS, wide, others=few.number)
        if threads >= MIN_THREADS:
            return Workers(few.number, 1, wide, threads, few.reason)
        wide -= 1
    threads = max(1, room.threads(MIN_THREADS, few.number))
    reason = ", ".join(filter(None, [few.reason, only_one_server]))
    return Workers(few.number, threads, reason=reason)
