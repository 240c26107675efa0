"""What an operator asks at night: does it serve, who waits, what runs, what grows."""

import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from docker_flask.servers.launch import GREENLETS
from docker_flask.shared import paths, process, running_request
from docker_flask.shared.log import log
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.slow_requests import SlowRequests

# Seconds for the workers to say what they serve: their watchdogs look twice a second.
PATIENCE = 1.1
# Looks in a row in which requests wait, until the container is saturated.
SATURATED_LOOKS = 4
# Looks that make up the last minute; seconds between two lines about a full queue, in looks, too.
MINUTE, INTERVAL, LOOKS = 120, 10.0, 20


class Status:
    """Looks twice a second (`look`), and answers `docker-flask status` and the metrics.

    saturated_since: when requests began to wait for a worker, 0.0 if none do. answers: who waits
    for the workers.
    """

    def __init__(self, service: Service, reloads: Reloads) -> None:
        self._service, self._reloads = service, reloads
        self._slow = SlowRequests()
        self.saturated_since = 0.0
        self._looks_with_waiting = 0
        self._waiting: deque[int] = deque(maxlen=MINUTE)
        self._order = service.runtime / paths.STATUS_ORDER
        self._touch()  # now: a disk that is full later does not matter
        self.answers: list[Callable[[str], None]] = []
        # When the workers were asked.
        self._asked = 0.0
        # Responses that nginx has given because the queue was full, at the last line about them.
        self._refused, self._refused_logged = 0, 0.0

    # --- twice a second -----------------------------------------------------------------------

    def look(self) -> None:
        """Note how many requests wait, and log what is slow or refused."""
        current = self._service.current
        if not current:
            return
        _, waiting = self.requests(current)
        self._waiting.append(waiting)
        self._looks_with_waiting = self._looks_with_waiting + 1 if waiting else 0
        if not waiting:
            self.saturated_since = 0.0
        elif self._looks_with_waiting >= SATURATED_LOOKS:
            self.saturated_since = self.saturated_since or time.time()
        self._log_slow(current)
        self._log_refused(current)

    def requests(self, current: Generation) -> tuple[int, int]:
        """Requests that run in the current generation, and requests that wait for a worker."""
        present = current.requests()
        running = min(present, slots(current))
        return running, present - running

    def _log_slow(self, current: Generation) -> None:
        for generation in self._service.generations():
            for server in generation.servers:
                for pid, requests in server.slow:
                    self._slow.note(pid, requests)
                server.slow.clear()
        self._slow.look(current.plan.settings.slow_request)

    def _log_refused(self, current: Generation) -> None:
        """One line each ten seconds while the queue is full, in place of nginx's two a request."""
        refused, now = self._service.traffic.counts.refused, time.monotonic()
        if refused == self._refused or now - self._refused_logged < INTERVAL:
            return
        most, queue = max([*self._waiting][-LOOKS:]), queue_limit(current)
        log(
            f"{refused - self._refused:,} requests got 503 from nginx in the last {INTERVAL:g} "
            f"seconds: up to {most:,} of {queue:,} requests waited for {slots(current):,} places"
        )
        self._refused, self._refused_logged = refused, now

    # --- docker-flask status ------------------------------------------------------------------

    def ask(self, answer: Callable[[str], None]) -> None:
        """Answer with all facts, as soon as the workers have said what they serve."""
        if self._service.phase is not Phase.SERVING:
            answer(json.dumps(self.facts()))
            return
        if not self.answers:  # otherwise the workers are asked already
            self._asked = time.monotonic()
            self._touch()
        self.answers.append(answer)

    def _touch(self) -> None:
        with contextlib.suppress(OSError):
            self._order.touch()

    def advance(self) -> None:
        """Answer who waits, if all workers have said what they serve, or if that takes too long."""
        if self.answers and (not self._silent() or time.monotonic() > self._asked + PATIENCE):
            answers, self.answers, text = self.answers, [], ""
            try:
                text = json.dumps(self.facts())
            finally:
                for answer in answers:
                    answer(text)

    def _silent(self) -> list[int]:
        """Workers that have not said what they serve since they were asked."""
        servers = [s for each in self._service.generations() for s in each.servers]
        return [
            pid
            for server in servers
            for pid in server.workers()
            if server.running.get(pid, (0.0, []))[0] < self._asked
        ]

    def facts(self) -> dict[str, Any]:
        """What docs/operating.md explains; times are seconds since 1970, sizes are bytes."""
        service, current = self._service, self._service.current
        found: dict[str, Any] = {
            "state": service.phase.value,
            "problem": service.why_not_ready(),
            "saturated_since": self.saturated_since,
            "last_reload": self._reloads.last,
            "memory": self._memory(),
            "last_minute": self._last_minute(),
            "certificate": self._certificate(),
        }
        if current:
            running, waiting = self.requests(current)
            found |= {
                "application": current.report.application,
                "generation": current.number,
                "since": current.since,
                "workers": {
                    "now": len(current.worker_pids()),
                    "maximum": current.plan.workers.processes,
                    "reason": current.plan.workers.reason,
                    "slots": slots(current),
                    "slots_maximum": slots_maximum(current),
                },
                "requests": {
                    "running": running,
                    "waiting": waiting,
                    "queue": queue_limit(current),
                    "web_sockets": current.web_sockets(),
                },
                "running": self._running(),
                "silent": self._silent() if self._asked else [],
            }
        return found

    def _running(self) -> list[dict[str, Any]]:
        """The requests that run, the longest first."""
        rows = [
            {"worker": pid, **row}
            for generation in self._service.generations()
            for server in generation.servers
            for pid, (told, requests) in server.running.items()
            if told >= self._asked and process.alive(pid)
            for row in running_request.to_json(requests)
        ]
        return sorted(rows, key=lambda row: -row["seconds"])

    def _memory(self) -> dict[str, Any]:
        memory, sizes = self._service.memory, [(0, 0)]
        for generation in self._service.generations():
            sizes += [(process.resident(pid), pid) for pid in generation.worker_pids()]
        size, worker = max(sizes)
        return {
            "used": memory.limit - memory.free(),
            "limit": memory.limit,
            "largest_worker": worker,
            "largest_worker_bytes": size,
            "kills": memory.kills,
            "last_kill": memory.last_kill,
        }

    def _certificate(self) -> dict[str, Any] | None:
        found = self._service.certificates.current
        return {"names": sorted(found.names), "ends": found.ends} if found else None

    def _last_minute(self) -> dict[str, Any]:
        counts, seconds = self._service.traffic.last_minute()
        statuses: Counter[str] = Counter()
        for (_, status), number in counts.requests.items():
            statuses[status] += number
        rate = sum(statuses.values()) / seconds if seconds else 0.0
        # Little's law: the mean wait is the mean number of those who wait, by their rate.
        waiting = sum(self._waiting) / len(self._waiting) if self._waiting else 0.0
        return {
            "seconds": seconds,
            "rate": rate,
            "statuses": dict(sorted(statuses.items())),
            "median": counts.whole.share(0.5),
            "p95": counts.whole.share(0.95),
            "mean_wait": waiting / rate if rate else 0.0,
        }


def slots(generation: Generation) -> int:
    """How many requests the workers that have loaded take at once."""
    workers = generation.plan.workers
    found = len(generation.narrow.workers()) * workers.threads * _greenlets(generation)
    if generation.wide.server:
        found += len(generation.wide.server.workers()) * workers.wide_threads
    return found


def slots_maximum(generation: Generation) -> int:
    """How many requests all allowed workers take at once."""
    return generation.plan.workers.requests * _greenlets(generation)


def queue_limit(generation: Generation) -> int:
    """How many requests may wait: the kernel takes one more than `listen` says."""
    return generation.plan.sizing.queue + 1


def _greenlets(generation: Generation) -> int:
    """Greenlets of a worker, 1 without."""
    return GREENLETS if generation.plan.settings.worker_class == "gevent" else 1
