"""The requests that run in this worker: for SLOW_REQUEST, and for `docker-flask status`.

The watchdog's thread looks. A C function that holds the interpreter's lock holds this thread, too.
"""

import os
from collections.abc import Callable
from types import FrameType
from typing import Any

from docker_flask.shared import running_request
from docker_flask.shared.running_request import MAX_TEXT, RunningRequest
from docker_flask.worker.find import places
from docker_flask.worker.middleware.exchange import Exchange
from docker_flask.worker.middleware.timing import Watch
from docker_flask.worker.middleware.wsgi_types import Environ
from docker_flask.worker.server.greenlets import BLOCKING, Stacks, stacks


class Running:
    """slow: SLOW_REQUEST, 0 for off. order: the file whose time process 1 changes to ask.

    tell: sends a message to process 1.
    """

    def __init__(self, watch: Watch, slow: float, order: str, tell: Callable[..., Any]) -> None:
        self._watch, self._slow, self._order, self._tell = watch, slow, order, tell
        self._asked = 0
        # Slow requests that process 1 knows, by their thread.
        self._told: dict[int, Environ] = {}

    def look(self) -> None:
        """Tell process 1 of requests that have become slow, and of all requests if it asks."""
        self._tell_slow()
        asked = _changed(self._order)
        if asked != self._asked:
            self._asked = asked
            found = stacks()
            rows = [self.describe(thread, found) for thread in list(self._watch.active)]
            self._tell("running", requests=running_request.to_json(filter(None, rows)))

    def describe(self, thread: int, found: Stacks) -> RunningRequest | None:
        """The request of a thread; None if it has ended."""
        environ, begun = self._watch.active.get(thread, (None, 0.0))
        if environ is None:
            return None
        return RunningRequest(
            seconds=round(self._watch.clock - begun, 1),
            method=str(environ.get("REQUEST_METHOD"))[:MAX_TEXT],
            path=str(environ.get("REQUEST_URI", "")).partition("?")[0][:MAX_TEXT],
            request_id=str(environ.get("HTTP_X_REQUEST_ID", ""))[:MAX_TEXT],
            place=places.words(stack_of(thread, found))[:MAX_TEXT],
        )

    def _tell_slow(self) -> None:
        latest = self._watch.clock - self._slow
        silent = list(self._watch.silent_since.items()) if self._slow else []
        slow = [thread for thread, since in silent if 0 < since < latest]
        active = {thread: self._watch.active.get(thread, (None,))[0] for thread in slow}
        new = [thread for thread in slow if self._told.get(thread) is not active[thread]]
        self._told = {thread: environ for thread, environ in active.items() if environ is not None}
        if not new:
            return
        found = stacks()
        # A stream may wait for what it sends next.
        waiting = [thread for thread in new if not has_begun(stack_of(thread, found))]
        requests = filter(None, [self.describe(thread, found) for thread in waiting])
        if rows := running_request.to_json(requests):
            self._tell("slow", requests=rows)


def stack_of(thread: int, found: Stacks) -> list[FrameType]:
    """Where the request of a thread is, or what it waits for."""
    return found.get(thread) or found.get(BLOCKING, [])


def has_begun(frames: list[FrameType]) -> bool:
    """True if the request that runs here has sent the start of its response (timing.py)."""
    for each in frames:
        exchange = each.f_locals.get("exchange")
        if isinstance(exchange, Exchange):
            # A handshake that was refused has no status of the application.
            return exchange.headers_sent and bool(exchange.status)
    return False


def _changed(path: str) -> int:
    """When a file was changed (ns), 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
