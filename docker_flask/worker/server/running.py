"""The requests that run in this worker: for SLOW_REQUEST, and for `docker-flask status`.

The watchdog's thread looks. A C function that holds the interpreter's lock holds this thread, too.
"""

import os
from collections.abc import Callable
from typing import Any

from docker_flask.shared import running_request
from docker_flask.shared.running_request import MAX_TEXT, RunningRequest
from docker_flask.worker.find import places
from docker_flask.worker.middleware.exchange import Exchange, Watch
from docker_flask.worker.server.greenlets import BLOCKING, Stacks, stacks


class Running:
    """slow: SLOW_REQUEST, 0 for off. order: the file whose time process 1 changes to ask.

    tell: sends a message to process 1.
    """

    def __init__(self, watch: Watch, slow: float, order: str, tell: Callable[..., Any]) -> None:
        self._watch, self._slow, self._order, self._tell = watch, slow, order, tell
        self._asked = 0
        # Slow requests that process 1 knows, by their thread.
        self._told: dict[int, Exchange] = {}

    def look(self) -> None:
        """Tell process 1 of requests that have become slow, and of all requests if it asks."""
        self._tell_slow()
        asked = _changed(self._order)
        if asked != self._asked:
            self._asked = asked
            found = stacks()
            rows = [self.describe(thread, found) for thread in list(self._watch.requests)]
            self._tell("running", requests=running_request.to_json(filter(None, rows)))

    def describe(self, thread: int, found: Stacks) -> RunningRequest | None:
        """The request of a thread; None if it has ended."""
        exchange = self._watch.requests.get(thread)
        if not exchange:
            return None
        environ = exchange.environ
        # Another greenlet blocks one that has no stack of its own.
        stack = found.get(thread) or found.get(BLOCKING, [])
        return RunningRequest(
            seconds=round(self._watch.clock - exchange.begun, 1),
            method=str(environ.get("REQUEST_METHOD"))[:MAX_TEXT],
            path=str(environ.get("REQUEST_URI", "")).partition("?")[0][:MAX_TEXT],
            request_id=str(environ.get("HTTP_X_REQUEST_ID", ""))[:MAX_TEXT],
            place=places.words(stack)[:MAX_TEXT],
        )

    def _tell_slow(self) -> None:
        latest = self._watch.clock - self._slow
        requests = list(self._watch.requests.items()) if self._slow else []
        # A stream may wait for what it sends next.
        slow = {
            thread: exchange
            for thread, exchange in requests
            if 0 < exchange.silent_since < latest and not exchange.has_begun
        }
        new = [thread for thread in slow if self._told.get(thread) is not slow[thread]]
        self._told = slow
        if not new:
            return
        found = stacks()
        described = filter(None, [self.describe(thread, found) for thread in new])
        if rows := running_request.to_json(described):
            self._tell("slow", requests=rows)


def _changed(path: str) -> int:
    """When a file was changed (ns), 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
