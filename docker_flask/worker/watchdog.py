"""Replaces a worker if a request exceeds REQUEST_TIMEOUT."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from docker_flask.log import log
from docker_flask.worker import worker_process
from docker_flask.worker.greenlets import frame_of_greenlet, unpatched
from docker_flask.worker.threads import Threads
from docker_flask.worker.worker_process import WorkerProcess

# Seconds between two checks of a worker with requests; the second if more threads may help.
TICK, EAGER_TICK = 0.5, 0.1
# The longest sleep of the watchdog in an idle worker, as a part of the timeout.
IDLE_SLEEP = 1 / 8
# Seconds that a retired worker gets to end after its last response. A background thread of the
# application may keep it alive.
LINGER = 2.0


class Watchdog:
    """Watches the requests of a worker in a thread of its own.

    timeout: REQUEST_TIMEOUT. limit: seconds that the application may be silent within a request,
    a little more than the timeout. The time that a client takes to receive data does not count.

    A worker with a request over the limit ends: first the worker waits, and serves, while a client
    is slow to receive. Then the worker takes no more requests, and completes those of its other
    threads. Each step lasts at most the timeout.

    new_threads: creates what adds and removes threads, None if their number is fixed; threads: what
    it has created, after `start`.

    active: threads that serve a request. silent_since: when the application started or resumed
    work on each thread's request; negative while the client receives data. web_sockets: connections
    that views have taken. They may last, and hold up only the end of the worker.
    """

    def __init__(
        self,
        timeout: float,
        limit: float,
        worker: WorkerProcess,
        new_threads: Callable[[], Threads] | None = None,
    ) -> None:
        self.active: set[int] = set()
        self.silent_since: dict[int, float] = {}
        self.web_sockets: set[Any] = set()
        self.threads: Threads | None = None
        self._timeout = timeout
        self._limit = limit
        self._worker = worker
        self._new_threads = new_threads
        # No request was active at the last check, and the next request has to wake this.
        self._asleep = False
        # For threads, even if gevent has replaced them with greenlets.
        self._local = unpatched("_thread", "_local")()
        # Locked; `_wake` releases it.
        self._alarm = unpatched("_thread", "allocate_lock")()
        self._alarm.acquire()
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
        self._set_cpu_timer(TICK)
        self._main = unpatched("_thread", "get_ident")()
        # A thread of the kernel, even with gevent: a greenlet does not run while another blocks.
        unpatched("_thread", "start_new_thread")(self._watch, ())

    def begin(self, thread: int) -> None:
        """Watch a thread that starts to serve a request; this thread calls it."""
        if not hasattr(self._local, "signals_pass"):
            # uWSGI blocks all signals in its threads. Programs that a thread starts inherit the
            # blocked signals, and TERM would not end these programs.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._local.signals_pass = True
        self.active.add(thread)
        if self._asleep:
            self._wake()
        self.silent_since[thread] = time.monotonic()

    def forget(self, thread: int) -> None:
        """Watch the thread no more."""
        self.silent_since.pop(thread, None)
        self.active.discard(thread)

    def _wake(self) -> None:
        self._asleep = False
        with contextlib.suppress(RuntimeError):  # another request has already released the lock
            self._alarm.release()

    def _watch(self) -> None:
        sleep = unpatched("time", "sleep")
        threads = self.threads = self._new_threads() if self._new_threads else None
        tick = EAGER_TICK if threads else TICK
        idle_sleep = max(TICK, IDLE_SLEEP * self._timeout)
        last = busy = time.monotonic()
        pause, idle, retired = TICK, False, False
        while True:
            if not idle:
                sleep(pause)
            elif self._sleep_until_request(idle_sleep):
                # Since that request began: the clock may jump before the watchdog has woken up.
                begun = [abs(since) for since in list(self.silent_since.values())]
                last, pause, idle = min(begun, default=time.monotonic()), tick, False
                continue
            now = time.monotonic()
            # If the container was paused, or the clock jumped, requests get that time in addition.
            jump = now - last - pause
            last = now
            requests = list(self.silent_since.items())
            if jump > 2 * TICK or jump < -TICK:
                self._add(jump, now, pause, requests)
                continue
            if threads:
                threads.look(len(self.active))
            many_threads = threads is not None and threads.number > 1
            idle = not (self.active or self._worker.retired or many_threads)
            pause = idle_sleep if idle else tick if self.active else TICK
            self._set_cpu_timer(max(TICK, pause))
            if self.active or self.web_sockets or not retired:
                busy = now
            elif now - busy > LINGER:
                worker_process.end()
            retired = self._worker.retired
            self._end_if_overdue(now, requests)

    def _sleep_until_request(self, seconds: float) -> bool:
        """Sleep for at most this time; returns True if a request has come."""
        self._asleep = True
        came = bool(self.active) or self._alarm.acquire(timeout=seconds)
        self._asleep = False
        return came

    def _add(
        self, jump: float, now: float, pause: float, requests: list[tuple[int, float]]
    ) -> None:
        """Give a jump of the clock to the requests that began before it."""
        for thread, since in requests:
            # A request that began after the jump has a small age by the new clock.
            if not -TICK <= now - abs(since) <= pause + TICK:
                self.silent_since[thread] = since + (jump if since > 0 else -jump)

    def _end_if_overdue(self, now: float, requests: list[tuple[int, float]]) -> None:
        latest = now - self._limit
        overdue = {thread for thread, since in requests if 0 < since < latest}
        for thread in overdue - self._overdue:
            self._report(thread)
        if not overdue & self._overdue:
            self._overdue_since = now
        self._overdue = overdue
        if not overdue:
            return
        others = any(thread not in overdue for thread, _ in requests)
        slow_client = any(since < 0 and now + since > TICK for _, since in requests)
        wait = slow_client or ((others or self.web_sockets) and self._worker.retired)
        if wait and now - self._overdue_since <= self._timeout:
            return
        if self._worker.retired:
            worker_process.end()
        self._overdue_since = now
        self._worker.retire()

    def _set_cpu_timer(self, pause: float) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, self._limit + pause)

    def _report(self, thread: int) -> None:
        frames = sys._current_frames()
        frame = frames.get(thread) or frame_of_greenlet(thread) or frames.get(self._main)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        log(
            f"a request took longer than REQUEST_TIMEOUT={self._timeout:g} seconds; "
            f"replacing worker {os.getpid()}. The request was here:\n{stack.rstrip()}"
        )
