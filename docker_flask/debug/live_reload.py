"""Pages that load themselves again after an edit: a script at the end of each page, and its events.

A page has the state with which it was made. The script waits for events, of which each is the
present state, and loads the page again if both differ. Each child has a state of its own, and a new
one after each edit of a template or a static file.
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

from docker_flask.worker.wsgi_types import Environ, Headers, StartResponse, Wsgi

FOLDER = "/__docker_flask__"
SCRIPT, EVENTS = f"{FOLDER}/live_reload.js", f"{FOLDER}/events"
JAVASCRIPT = Path(__file__).with_suffix(".js").read_bytes()
# Milliseconds after which a browser connects again, and seconds after which it gets a comment, so
# that a connection of a browser that has left ends.
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
            self._wait_for_change(sent)

    def _wait_for_change(self, state: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._state != state, HEARTBEAT)

    def _with_script(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        script = f'<script src="{SCRIPT}" data-state="{self._state}"></script>\n'.encode()
        added: list[bytes] = []

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            added.clear()
            if is_page(status, headers):
                allowed = [
                    allow(value, environ) if name.lower() == "content-security-policy" else value
                    for name, value in headers
                ]
                if None not in allowed:
                    added.append(script)
                    headers = [
                        (name, _longer(name, str(value), len(script)))
                        for (name, _), value in zip(headers, allowed, strict=True)
                    ]
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
    """True for a whole HTML page that is not compressed, also an error page."""
    found = {name.lower(): value.lower() for name, value in headers}
    return (
        not re.match(r"1|3|20[456]", status)
        and found.get("content-type", "").startswith("text/html")
        and "content-encoding" not in found
        and not found.get("content-disposition", "").startswith("attachment")
    )


def _longer(name: str, value: str, added: int) -> str:
    return str(int(value) + added) if name.lower() == "content-length" else value


def allow(policy: str, environ: Environ) -> str | None:
    """A Content-Security-Policy that allows these two addresses, too; None if it can't.

    All else that the policy refuses stays refused, as in production.
    """
    directives = dict[str, list[str]]()
    for text in filter(str.strip, policy.split(";")):
        name, *sources = text.split()
        directives.setdefault(name.lower(), sources)
    default = directives.get("default-src")
    origin = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', 'localhost')}"
    for name, path in (("script-src", SCRIPT), ("connect-src", EVENTS)):
        present = directives.get(name, default)
        if present is not None:
            kept = [source for source in present if source.lower() != "'none'"]
            directives[name] = [*kept, origin + path]
    if "script-src-elem" in directives:
        directives["script-src-elem"].append(origin + SCRIPT)
    if "sandbox" in directives or "'strict-dynamic'" in directives.get("script-src", ()):
        return None
    return "; ".join(" ".join((name, *sources)) for name, sources in directives.items())
