"""An event loop for signals, descriptors and timeouts, in one thread."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any


class Loop:
    """Runs the callbacks of signals and descriptors during `turn` and `wait`.

    Callbacks must not block. An exception in a callback ends the current `turn` or `wait`: a stop
    signal interrupts the work in progress this way.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._handlers: Mapping[signal.Signals, Callable[[], None]] = {}
        self._signals, self._wakeup = socket.socketpair()
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)

    def handle_signals(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Handle these signals, including those that arrived while they were blocked."""
        self._handlers = handlers
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in handlers:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)

    def watch(self, readable: Any, callback: Callable[[], None]) -> None:
        """Run the callback whenever a socket or descriptor is readable."""
        self._selector.register(readable, selectors.EVENT_READ, callback)

    def forget(self, readable: Any) -> None:
        """Undo `watch`."""
        self._selector.unregister(readable)

    def turn(self, seconds: float) -> None:
        """Wait for the next event, up to a number of seconds, and run its callbacks."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def wait(self, done: Callable[[], bool], seconds: float, tick: float = 1.0) -> bool:
        """Run callbacks until `done()` is true or the seconds are over; returns `done()`.

        tick: the longest time (s) between two calls of `done`, for changes without an event.
        """
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.turn(min(left, tick))
        return True

    def _on_signals(self) -> None:
        # Ended children first, and all signals before an exception is raised: a stop signal raises
        # one, and the other signals of this batch must not be lost.
        batch = sorted(self._signals.recv(64), key=lambda number: number != signal.SIGCHLD)
        problem: Exception | None = None
        for number in batch:
            try:
                self._handlers[signal.Signals(number)]()
            except Exception as error:
                problem = error
        if problem:
            raise problem
