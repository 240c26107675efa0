"""An event loop for signals, descriptors and timeouts, in one thread."""

import contextlib
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from docker_flask.shared.log import log

# Seconds for which an exception at the same place is not logged again.
LOG_INTERVAL = 60.0
# Seconds to wait after an exception: the descriptor of the callback may still be readable.
PAUSE_AFTER_EXCEPTION = 0.02


class Interrupt(BaseException):
    """Ends the current `turn` or `wait` if a callback raises it; a stop signal works this way.

    All other exceptions of callbacks are logged, and the loop continues.
    """


class Loop:
    """Runs the callbacks of signals and descriptors during `turn` and `wait`.

    Callbacks must not block.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._handlers: Mapping[signal.Signals, Callable[[], None]] = {}
        self._quiet: set[int] = set()
        self._signals, self._wakeup = socket.socketpair()
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)
        # When an exception was logged, by its type and place.
        self._logged: dict[tuple[str, str, int], float] = {}

    def handle_signals(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Handle these signals, including those that arrived while they were blocked."""
        self._handlers = handlers
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in handlers:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)

    def watch(
        self, file: Any, callback: Callable[[], None], events: int = selectors.EVENT_READ
    ) -> None:
        """Run the callback whenever a socket or descriptor is readable, or as `events` says."""
        self._selector.register(file, events, callback)

    def watch_quietly(self, descriptor: int, callback: Callable[[], None]) -> None:
        """The same for what comes often and changes nothing for the caller of `turn`."""
        self.watch(descriptor, callback)
        self._quiet.add(descriptor)

    def forget(self, file: Any) -> None:
        """Undo `watch`."""
        self._quiet.discard(self._selector.unregister(file).fd)

    def turn(self, seconds: float) -> None:
        """Wait for the next event, up to a number of seconds, and run its callbacks."""
        end = time.monotonic() + seconds
        is_quiet = True
        while is_quiet:
            keys = [key for key, _ in self._selector.select(max(0.0, end - time.monotonic()))]
            for key in keys:
                # An earlier callback may have closed this descriptor, and its number may be reused.
                if self._selector.get_map().get(key.fd) is key:
                    self.guard(key.data)
            is_quiet = {key.fd for key in keys} <= self._quiet and time.monotonic() < end

    def wake(self) -> None:
        """End the current `turn`; a thread may call this."""
        with contextlib.suppress(OSError):  # full: it ends anyway
            self._wakeup.send(bytes(1))

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

    def guard(self, step: Callable[[], None]) -> None:
        """Run a step; an exception is logged, and the caller continues."""
        try:
            step()
        except Exception as error:
            self.report(error)
            time.sleep(PAUSE_AFTER_EXCEPTION)

    def report(self, error: Exception) -> None:
        """Log an exception with its traceback, at most once a minute per place in the code."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = (type(error).__name__, frame.filename, frame.lineno or 0)
        now = time.monotonic()
        if now - self._logged.get(place, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged[place] = now
            log("unexpected error in process 1, which continues; please report this traceback:")
            sys.excepthook(type(error), error, error.__traceback__)

    def _on_signals(self) -> None:
        # Ended children first, and all signals before an Interrupt leaves: a stop signal raises
        # one, and the other signals of this batch must not be lost.
        batch = sorted(self._signals.recv(64), key=lambda number: number != signal.SIGCHLD)
        interrupt: Interrupt | None = None
        for number in filter(None, batch):  # 0: of `wake`
            try:
                self.guard(self._handlers[signal.Signals(number)])
            except Interrupt as raised:
                interrupt = raised
        if interrupt:
            raise interrupt
