"""The worker as a process: its signals, its forks, its memory and its end."""

import contextlib
import math
import os
import random
import select
import signal
import stat
import threading
import time
from collections.abc import Callable
from functools import partial

from docker_flask.shared import process
from docker_flask.shared.log import log
from docker_flask.worker.server.late_threads import LateThreads


class WorkerProcess:
    """This worker, as its server sees it.

    retire_signal: makes the server send no more requests to the worker, 0 if no server runs;
    retired: the worker has sent that signal to itself; on_retire: are called then, in any thread.
    drain_fd: a pipe whose end is the order to take no more requests, -1 for none.
    """

    # uWSGI starts no other worker in place of one that ends with this code (UWSGI_GO_CHEAP_CODE).
    EXIT_NOT_NEEDED = 15

    def __init__(self, retire_signal: int, drain_fd: int = -1) -> None:
        self.retired = False
        self.on_retire: list[Callable[[str], object]] = []
        self._retire_signal = retire_signal
        self._drain = select.poll()
        # uWSGI's own reload (touch-reload) closes the descriptor, and reuses its number.
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(drain_fd).st_mode):
                self._drain.register(drain_fd, 0)

    def is_drained(self) -> bool:
        """True if process 1 has ordered the workers of this server to take no more requests."""
        return any(event & select.POLLHUP for _, event in self._drain.poll(0))

    def end_if_drained(self) -> None:
        """End a worker that the server has started in place of one that has left."""
        if self.is_drained():
            os._exit(self.EXIT_NOT_NEEDED)

    def retire(self, reason: str, idle: int = 0) -> None:
        """Take no more requests; idle: the thread that gets the signal, by default the calling one.

        reason: one of those of the metrics (supervisor/worker_counts.py).

        Another thread may then drop a request that it has just accepted, or cut the response to a
        slow reader (uwsgi_simple_wait_write_hook).
        """
        self.retired = True
        for call in self.on_retire:
            call(reason)
        send = partial(signal.pthread_kill, idle) if idle else signal.raise_signal
        send(self._retire_signal)


class Recycling:
    """Replaces a worker at MAX_REQUESTS or MAX_WORKER_MEMORY; max_memory: bytes; 0 for no limit.

    The worker keeps serving while threads outlive their requests, for REQUEST_TIMEOUT at most: its
    successor starts only after its end.
    """

    def __init__(
        self, max_requests: int, max_memory: int, worker: WorkerProcess, threads: LateThreads
    ) -> None:
        self._max_requests = max_requests
        self._max_memory = max_memory
        self._worker = worker
        self._threads = threads
        self._left = math.inf
        self._deadline = 0.0

    def start(self) -> None:
        """Choose this worker's share of MAX_REQUESTS: random, so that workers end one by one."""
        if self._max_requests:
            least = math.ceil(self._max_requests / 2)
            self._left = random.randint(least, self._max_requests)  # noqa: S311 (no secret)

    def count(self) -> None:
        """Count a request at its end, and retire the worker if this request was its last."""
        self._threads.check()
        if self._worker.retired:
            return
        self._left -= 1
        memory = process.resident(os.getpid()) if self._max_memory else 0
        if self._left <= 0:
            word, reason = "requests", f"reached its share of MAX_REQUESTS={self._max_requests}"
        elif memory > self._max_memory:
            word, limit = "memory", self._max_memory >> 20
            reason = f"uses {memory >> 20} MiB, more than MAX_WORKER_MEMORY={limit}m"
        else:
            return
        self._deadline = self._deadline or time.monotonic() + self._threads.timeout
        if self._threads.look() and time.monotonic() < self._deadline:
            return
        self._worker.retire(word)
        log(f"worker {os.getpid()} {reason}; replacing the worker")


def protect_exit() -> None:
    """Make `os._exit` end this worker as a crash does, whatever exit code the application uses.

    Servers read some codes as orders: uWSGI does not replace a worker that exits with 15, and stops
    when a worker exits with 22; Gunicorn stops at 3 and 4.
    """
    worker, end = os.getpid(), os._exit

    def exit_as_crash(status: int) -> None:
        end(1 if os.getpid() == worker else status)

    os._exit = exit_as_crash  # type: ignore[assignment]


def offer_to_oom_killer() -> None:
    """If memory runs out, let the kernel kill this worker: it kills the highest score first."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")


def call_in_each_worker(begin: Callable[[], None]) -> None:
    """Call a function in each worker that the server forks from this process.

    The server forks workers from the thread that loads the application. The application itself
    forks from another thread, or from a worker.
    """
    server, thread = os.getpid(), threading.get_ident()

    def after_fork() -> None:
        if os.getppid() == server and threading.get_ident() == thread:
            begin()

    os.register_at_fork(after_in_child=after_fork)


def let_term_end_children() -> None:
    """Let TERM end the processes that the application forks, though uWSGI ignores TERM (app.ini).

    The signal is blocked until the child has its handler.
    """
    before = threading.local()

    def block() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def end_by_term() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=end_by_term)
