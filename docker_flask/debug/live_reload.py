"""Pages that load themselves again after an edit: a script at the end of each page, and its events.

A page contains the state at its creation. Each event contains the current state; if the two differ,
the script loads the page again. The state changes with each new child, and with each edit of a
template or a static file.
"""

import itertools
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator

from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse, Wsgi

FOLDER = "/__docker_flask__"
SCRIPT, EVENTS = f"{FOLDER}/live_reload.js", f"{FOLDER}/events"
JAVASCRIPT = Path(__file__).with_suffix(".js").read_bytes()
# Milliseconds until a browser connects again. Seconds between two events without a change: an event
# that can't be sent ends the connection of a browser that has left.
RETRY, HEARTBEAT = 50, 15.0
# A whole page can take a script; a Content-Security-Policy may forbid the script.
UNSUITABLE = ("Content-Encoding", "Content-Range", "Content-Security-Policy", "Content-Disposition")


class LiveReload:
    """The application, whose pages load themselves again."""

    def __init__(self, application: Wsgi) -> None:
        self._application = application
        self._changed = threading.Condition()
        self._state = ""
        self._ended = False
        self.page_edited()

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
            response = Response(JAVASCRIPT, mimetype="text/javascript")
        elif path == EVENTS:
            response = Response(self._events(), mimetype="text/event-stream")
        elif is_visit(environ):
            response = self._with_script(environ, Response.from_app(self._restartable, environ))
        else:
            return self._application(environ, start_response)
        return response(environ, start_response)

    def _restartable(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Werkzeug's Response raises `exc_info`; the debugger's page replaces a response with it.
        return self._application(
            environ, lambda status, headers, *_: start_response(status, headers)
        )

    def _events(self) -> Iterator[bytes]:
        yield b"retry: %d\n\n" % RETRY
        while not self._ended:
            sent = self._state
            yield b"data: %s\n\n" % sent.encode()
            with self._changed:
                if self._state == sent and not self._ended:
                    self._changed.wait(HEARTBEAT)

    def _with_script(self, environ: Environ, page: Response) -> Response:
        source = f"{environ['SCRIPT_NAME']}{SCRIPT}"
        script = f'<script src="{source}" data-state="{self._state}"></script>\n'.encode()
        if page.mimetype == "text/html" and not any(name in page.headers for name in UNSUITABLE):
            body: Any = page.response
            page.response = ClosingIterator(
                itertools.chain(body, [script]), getattr(body, "close", ())
            )
            if page.content_length is not None:
                page.content_length += len(script)
        return page


def is_visit(environ: Environ) -> bool:
    """True for a request that shows a page in a browser, not for a script's or a program's."""
    shown_in = environ.get("HTTP_SEC_FETCH_DEST", "document")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "text/html" in environ.get("HTTP_ACCEPT", "")
        and shown_in in ("document", "frame", "iframe")
    )
