"""One thread that waits for signals, descriptors and time, all in one place."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any


class Loop:
    """Calls what was registered for a signal or a descriptor whenever somebody waits.

    Callbacks do not block. One that raises ends the wait that it was called in, which is how a
    stop signal leaves whatever was under way.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._handlers: Mapping[signal.Signals, Callable[[], None]] = {}
        self._signals, self._wakeup = socket.socketpair()
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)

    def handle_signals(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Handle these signals from now on, also those that came while they were blocked."""
        self._handlers = handlers
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in handlers:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)

    def watch(self, readable: Any, callback: Callable[[], None]) -> None:
        """Call back whenever a socket or descriptor can be read."""
        self._selector.register(readable, selectors.EVENT_READ, callback)

    def forget(self, readable: Any) -> None:
        """Undo `watch`."""
        self._selector.unregister(readable)

    def turn(self, seconds: float) -> None:
        """Run the callbacks of the next event, or of none within so many seconds."""
        for key, _ in self._selector.select(seconds):
            key.data()

    def wait(self, done: Callable[[], bool], seconds: float, tick: float = 1.0) -> bool:
        """Run callbacks until `done()`, for so many seconds at most; returns `done()`.

        tick: how often `done` is asked when nothing happens, for what no event announces.
        """
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.turn(min(left, tick))
        return True

    def _on_signals(self) -> None:
        # All that came, children first: a stop signal leaves by an exception, and would take the
        # others of its batch with it.
        batch = sorted(self._signals.recv(64), key=lambda number: number != signal.SIGCHLD)
        problem: Exception | None = None
        for number in batch:
            try:
                self._handlers[signal.Signals(number)]()
            except Exception as error:
                problem = error
        if problem:
            raise problem
