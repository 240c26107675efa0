"""The wide server: the same application with many threads, while requests wait and a CPU is free.

A worker with one thread is right for requests that compute. If requests wait, for a database for
example, each of them holds such a worker, and the CPUs are idle. Then a second server on the same
socket takes the requests that the narrow workers leave in the queue.
"""

import time
from collections.abc import Callable, Collection

from docker_flask.plan.limits import MemoryWatch
from docker_flask.plan.workers import THREAD_MEMORY, Workers, in_words
from docker_flask.shared import process
from docker_flask.shared.log import log
from docker_flask.supervisor.server_process import ServerProcess

# Seconds between two looks.
INTERVAL = 0.5
# Share of the time for which narrow workers run or wait for a CPU. Above it, requests compute and
# do not wait, so threads would only share the CPU. Measured on two CPUs under full load: 0.65 to
# 0.83 for a hello, 0.12 for a view that waits 20 ms and computes 2 ms, 0.01 for a wait of 50 ms.
MAX_LOAD = 0.5
# Looks in a row with more requests than narrow workers, before the wide server starts.
WAITING_LOOKS = 2
# Looks in which half of the narrow workers would have been enough, before it ends. Of these, a look
# with more takes back two, and one with more requests than narrow workers takes back BURST: bursts
# every 10 seconds keep the server, two requests at the same moment now and then do not.
QUIET_LOOKS, BURST = 40, 20
# Seconds until the next try after the wide server has failed; doubles with each failure.
PAUSE, LONGEST_PAUSE = 5.0, 300.0


class Demand:
    """Whether requests wait that the narrow workers can't take; call `look` every INTERVAL."""

    def __init__(self) -> None:
        self._looked_at = time.monotonic()
        # Seconds that each narrow worker ran or waited for a CPU.
        self._ran: dict[int, float] = {}
        self._waiting = self._quiet = 0

    def look(self, requests: int, pids: Collection[int]) -> None:
        """Note how many requests wait or run, and the pids of the narrow workers."""
        waits = not self._computes(pids)
        self._waiting = self._waiting + 1 if requests > len(pids) and waits else 0
        if 2 * requests <= len(pids) or not waits:
            self._quiet += 1
        else:
            self._quiet -= BURST if requests > len(pids) else 2
            self._quiet = max(0, self._quiet)

    @property
    def is_high(self) -> bool:
        """True if the wide server would help."""
        return self._waiting >= WAITING_LOOKS

    @property
    def is_low(self) -> bool:
        """True if the narrow workers would have been enough for some time."""
        return self._quiet >= QUIET_LOOKS

    def _computes(self, pids: Collection[int]) -> bool:
        """True if the narrow workers have used almost all of the time since the last look.

        False where the kernel does not tell (gVisor).
        """
        now, ran = time.monotonic(), {pid: process.ran(pid) for pid in pids}
        known = [seconds - self._ran[pid] for pid, seconds in ran.items() if pid in self._ran]
        passed = now - self._looked_at
        self._ran, self._looked_at = ran, now
        return bool(known) and sum(known) > MAX_LOAD * passed * len(known)


class WideServer:
    """Starts and ends the wide server of one generation.

    open_server: returns a new ServerProcess that has been started, raises OSError. watch: knows the
    free memory. start_timeout: START_TIMEOUT.
    """

    def __init__(
        self,
        open_server: Callable[[], ServerProcess],
        watch: MemoryWatch,
        start_timeout: float,
    ) -> None:
        self.demand = Demand()
        self._open, self._watch = open_server, watch
        self._start_timeout = start_timeout
        # The server that takes requests; and earlier ones that finish their last requests.
        self.server: ServerProcess | None = None
        self._leaving: list[ServerProcess] = []
        # When the server was started, and when it last had a worker that has loaded.
        self._started = self._loaded = 0.0
        # Looks in a row in which no worker of the server took requests.
        self._full_looks = 0
        self._failures, self._next_try = 0, 0.0

    def servers(self) -> list[ServerProcess]:
        """The servers that have processes."""
        return [*filter(None, [self.server]), *self._leaving]

    def advance(
        self, requests: int, pids: Collection[int], workers: Workers, may_start: bool
    ) -> None:
        """Start or end the server as the demand is; call every INTERVAL.

        may_start: False if the application can't be loaded now.
        """
        self.demand.look(requests, pids)
        # Other processes may stay: workers that load, and what the application has started.
        for server in [it for it in self._leaving if not it.workers()]:
            server.kill()
            self._leaving.remove(server)
        now = time.monotonic()
        if self.server and (lost := self.server.lost()):
            self.failed(f"worker (pid {lost[0]}) ended before the application was loaded")
        if self.server:
            self._full_looks = self._full_looks + 1 if self.server.only_finishes() else 0
            self._loaded = now if self.server.workers() else self._loaded
        if self.demand.is_low:
            self._failures, self._next_try = 0, 0.0
            self._end_if_not_used(workers)
        elif self.server and now - self._loaded > self._start_timeout:
            limit = f"START_TIMEOUT={self._start_timeout:g} seconds"
            self.failed(f"the additional workers did not load the application within {limit}")
        elif may_start and self.demand.is_high and now >= self._next_try and self._is_needed:
            self.start(workers)

    def start(self, workers: Workers) -> None:
        """Start a server if there is memory for it; a server before it takes no more requests."""
        if not workers.wide_count:
            return
        try:
            size = workers.memory + workers.wide_threads * THREAD_MEMORY
            problem = self._watch.why_no_room(workers.wide_count, size)
            if not problem:
                started = self._open()
                self._let_leave()
                self.server, self._full_looks = started, 0
                self._started = self._loaded = time.monotonic()
                log(f"requests wait, and CPUs are free: starting {_in_words(workers)}")
        except OSError as error:
            problem = str(error.strerror)
        if problem:
            self._try_later(f"requests wait, but {_in_words(workers)} can't start: {problem}")

    def failed(self, reason: str) -> None:
        """Log why the server does not take requests any more, and try again later."""
        if time.monotonic() - self._started > LONGEST_PAUSE:
            self._failures = 0
        self._let_leave()
        self._try_later(reason)

    def memory_ran_out(self, reason: str) -> None:
        """Note that the kernel has killed a process: without this server, there is memory."""
        if self.server:
            self.failed(reason)
        else:
            log(reason)

    def _try_later(self, reason: str) -> None:
        pause = min(PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures += 1
        self._next_try = time.monotonic() + pause
        log(f"{reason}; the other workers keep serving, next try after {pause:g} seconds")

    @property
    def _is_needed(self) -> bool:
        return not self.server or self._full_looks >= WAITING_LOOKS

    def _end_if_not_used(self, workers: Workers) -> None:
        # One after another: a stream may hold a server that leaves, and each takes memory.
        if self.server and not self._leaving and not self.server.web_sockets():
            log(f"fewer requests wait: the {_in_words(workers)} end after their last response")
            self._let_leave()

    def _let_leave(self) -> None:
        if self.server:
            self.server.drain.give()
            self._leaving.append(self.server)
            self.server = None


def _in_words(workers: Workers) -> str:
    return f"{in_words(workers.wide_count, workers.wide_threads)} in addition"
