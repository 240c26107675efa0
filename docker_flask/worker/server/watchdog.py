"""Replaces a worker if a request exceeds REQUEST_TIMEOUT, and reports requests that are slow."""

import atexit
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from docker_flask.shared.log import log
from docker_flask.worker.middleware.exchange import Exchange, Watch
from docker_flask.worker.server import greenlets
from docker_flask.worker.server.greenlets import unpatched
from docker_flask.worker.server.late_threads import LateThreads
from docker_flask.worker.server.running import Running
from docker_flask.worker.server.worker_process import WorkerProcess

# Seconds between two checks.
TICK = 0.5
# Seconds that a retired worker gets to end after its last response and its last late thread. A
# service of the application may keep it alive.
LINGER = 2.0
# Seconds for exit functions, which send the last traces and errors.
EXIT_FUNCTIONS = 2.0
# Seconds between two looks for late threads at the end of the process.
PAUSE = 0.05


class Watchdog(Watch):
    """Watches the requests of a worker in a thread of its own.

    timeout: REQUEST_TIMEOUT. limit: seconds that the application may be silent within a request,
    a little more than the timeout. The time that a client takes to receive data does not count.

    A worker with a request over the limit takes no more requests, completes those of its other
    threads, for the timeout at most, and ends.

    slow, order, tell: see Running.

    clock: as exact as a tick. web_sockets: connections that views have taken. They may last, and
    hold up only the end of the worker.
    """

    def __init__(
        self,
        timeout: float,
        limit: float,
        worker: WorkerProcess,
        threads: LateThreads,
        slow: float = 0.0,
        order: str = "",
        tell: Callable[..., Any] = lambda *_, **__: None,
    ) -> None:
        super().__init__()
        self._running = Running(self, slow, order, tell)
        self.threads = threads
        self.web_sockets: set[Any] = set()
        self._timeout = timeout
        self._limit = limit
        self._worker = worker
        # For threads, even if gevent has replaced them with greenlets.
        self._local = unpatched("threading", "local")()
        # Threads over the limit, and the time since when there are any.
        self._overdue: set[int] = set()
        self._overdue_since = 0.0
        # The thread that runs all greenlets.
        self._main = 0

    def start(self) -> None:
        """Start to watch; the worker's main thread calls this."""
        # A C function that holds the interpreter's lock blocks the watchdog, too. The function uses
        # processor time, which a timer counts: its signal dumps the traceback and ends the worker.
        faulthandler.register(signal.SIGVTALRM, chain=True)
        self._main = unpatched("_thread", "get_ident")()
        greenlets.note_hub()
        self.threads.start()
        atexit.register(self._finish)
        # A thread of the kernel, even with gevent: a greenlet does not run while another blocks.
        unpatched("_thread", "start_new_thread")(self._watch, ())

    def begin(self, thread: int, exchange: Exchange) -> None:
        if not hasattr(self._local, "signals_pass"):
            # uWSGI blocks all signals in its threads. Programs that a thread starts inherit the
            # blocked signals, and TERM would not end these programs.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._local.signals_pass = True
            self.threads.own.add(threading.current_thread())
        # As in Watch, whose call would cost time in every request.
        exchange.begun = exchange.silent_since = self.clock
        self.requests[thread] = exchange

    def _watch(self) -> None:
        sleep = unpatched("time", "sleep")
        now, busy, retired_at = time.monotonic(), self.clock, self.clock
        while True:
            signal.setitimer(signal.ITIMER_VIRTUAL, self._limit + TICK)
            sleep(TICK)
            before, now = now, time.monotonic()
            # Requests are not charged for the time in which the container was paused.
            self.clock += min(now - before, 2 * TICK)
            if not self._worker.retired:
                retired_at = self.clock
            late = self.threads.look() and self.clock - retired_at < self._timeout
            if self.requests or self.web_sockets or late or not self._worker.retired:
                busy = self.clock
            elif self.clock - busy > LINGER:
                self._end()
            if not self._worker.retired and self._worker.is_drained():
                # In this thread: it has no request that a signal could interrupt.
                self._worker.retire("quiet")
            self._running.look()
            self._end_if_overdue(list(self.requests.items()))

    def _end_if_overdue(self, requests: list[tuple[int, Exchange]]) -> None:
        latest = self.clock - self._limit
        overdue = {thread for thread, each in requests if 0 < each.silent_since < latest}
        for thread in overdue - self._overdue:
            self._report(thread)
        if not overdue & self._overdue:
            self._overdue_since = self.clock
        self._overdue = overdue
        if not overdue:
            return
        others = len(requests) > len(overdue) or self.web_sockets or self.threads.count
        if not self._worker.retired:
            # If uWSGI's only thread is idle, only that thread can end the worker by the signal.
            self._worker.retire("timeout", 0 if self._main in self.requests else self._main)
        elif not others or self.clock - self._overdue_since > self._timeout:
            self._end()

    def _finish(self) -> None:
        """Wait for late threads at the end of the process."""
        end = time.monotonic() + self._timeout
        while self.threads.look() and time.monotonic() < end:
            time.sleep(PAUSE)
        if self._worker.retired:  # otherwise process 1 logs them
            self._name_cut()

    def _end(self) -> None:
        self._name_cut()
        atexit.unregister(self._finish)
        # In a thread of its own: what an exit function waits for may be in the request that hangs.
        ending = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
        ending.start()
        ending.join(EXIT_FUNCTIONS)
        os._exit(1)

    def _name_cut(self) -> None:
        for line in self.threads.lines:
            log(line)

    def _report(self, thread: int) -> None:
        found = greenlets.stacks()
        request = self._running.describe(thread, found)
        if not request:
            return
        what = f"a request took longer than REQUEST_TIMEOUT={self._timeout:g} seconds"
        exchange = self.requests.get(thread)
        if exchange and exchange.has_begun:
            what = (
                f"a response that had begun was cut, because it sent nothing for "
                f"REQUEST_TIMEOUT={self._timeout:g} seconds"
            )
        log(f"{what}: {request}; replacing worker {os.getpid()}")
