"""Pages that load themselves again after an edit: a script at the end of each page, and its events.

A page contains the state at its creation. Each event contains the current state; if the two differ,
the script loads the page again. The state changes with each new child, and with each edit of a
template or a static file.
"""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from werkzeug.wsgi import ClosingIterator

from docker_flask.request.wsgi_types import Environ, Headers, StartResponse, Wsgi

FOLDER = "/__docker_flask__"
SCRIPT, EVENTS = f"{FOLDER}/live_reload.js", f"{FOLDER}/events"
JAVASCRIPT = Path(__file__).with_suffix(".js").read_bytes()
# Milliseconds until a browser connects again. Seconds between two comments: a comment that can't be
# sent ends the connection of a browser that has left.
RETRY, HEARTBEAT = 50, 15.0
NO_CACHE = ("Cache-Control", "no-cache")


class LiveReload:
    """The application, whose pages load themselves again."""

    def __init__(self, application: Wsgi) -> None:
        self._application = application
        self._changed = threading.Condition()
        self._state = uuid.uuid4().hex
        self._ended = False

    def page_edited(self) -> None:
        """A template or a static file was edited."""
        with self._changed:
            self._state = uuid.uuid4().hex
            self._changed.notify_all()

    def end(self) -> None:
        """Complete the responses with events, before the server ends."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == SCRIPT:
            start_response("200 OK", [("Content-Type", "text/javascript"), NO_CACHE])
            return [JAVASCRIPT]
        if path == EVENTS:
            start_response("200 OK", [("Content-Type", "text/event-stream"), NO_CACHE])
            return self._events()
        if not is_visit(environ):
            return self._application(environ, start_response)
        return self._with_script(environ, start_response)

    def _events(self) -> Iterator[bytes]:
        yield b"retry: %d\n\n" % RETRY
        sent = ""
        while not self._ended:
            state = self._state
            yield b"data: %s\n\n" % state.encode() if state != sent else b":\n\n"
            sent = state
            with self._changed:
                if self._state == sent and not self._ended:
                    self._changed.wait(HEARTBEAT)

    def _with_script(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        script = f'<script src="{SCRIPT}" data-state="{self._state}"></script>\n'.encode()
        added: list[bytes] = []

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            added.clear()
            if is_page(status, headers):
                added.append(script)
                headers = [(name, _longer(name, value, len(script))) for name, value in headers]
            return start_response(status, headers, exc_info)

        body = self._application(environ, start)
        # A list of the callable, because the response starts while `body` is iterated.
        end = itertools.chain.from_iterable([added])
        return ClosingIterator(itertools.chain(body, end), getattr(body, "close", ()))


def is_visit(environ: Environ) -> bool:
    """True for a request that shows a page in a browser, not for a script's or a program's."""
    shown_in = environ.get("HTTP_SEC_FETCH_DEST", "document")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "text/html" in environ.get("HTTP_ACCEPT", "")
        and shown_in in ("document", "frame", "iframe")
    )


def is_page(status: str, headers: Headers) -> bool:
    """True for a whole HTML page, also an error page, that can get a script.

    A compressed page can't, and a Content-Security-Policy may forbid the script.
    """
    found = {name.lower(): value.lower() for name, value in headers}
    return (
        not re.match(r"1|3|20[456]", status)
        and found.get("content-type", "").startswith("text/html")
        and not {"content-encoding", "content-security-policy"} & found.keys()
        and not found.get("content-disposition", "").startswith("attachment")
    )


def _longer(name: str, value: str, added: int) -> str:
    return str(int(value) + added) if name.lower() == "content-length" else value
