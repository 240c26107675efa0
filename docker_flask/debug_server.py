"""The development server: the application under Werkzeug's debugger, on an inherited socket.

Runs in the application's Python, as a child of docker_flask.debug. An application that can't be
loaded is served as the page that says why.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.debug import DebuggedApplication
from werkzeug.serving import WSGIRequestHandler, make_server

from docker_flask import locate
from docker_flask.process import FIRST_DESCRIPTOR

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def load() -> Wsgi:
    """The application; one that fails to load is one that raises the same at each request."""
    os.environ["FLASK_RUN_FROM_CLI"] = "true"  # `app.run()` at a module's top level is ignored
    try:
        found = locate.load(Path.cwd(), os.environ.get("APP_MODULE"))
    except BaseException as error:
        traceback.print_exc()
        return _failed(error)
    finally:
        del os.environ["FLASK_RUN_FROM_CLI"]
    print(f"docker-flask: serving {found.name} ({found.reason})", file=sys.stderr, flush=True)
    if hasattr(found.application, "debug"):
        found.application.debug = True
    return DebuggedApplication(found.application, evalex=True)


def _failed(error: BaseException) -> Wsgi:
    # The debugger handles exceptions only, not SystemExit.
    shown = error if isinstance(error, Exception) else RuntimeError(f"at import: {error!r}")

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise shown.with_traceback(error.__traceback__)

    debugged = DebuggedApplication(application, evalex=True)

    def quietly(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # The log has shown it once.
        return debugged({**environ, "wsgi.errors": io.StringIO()}, start_response)

    return quietly


def with_request_id(application: Wsgi) -> Wsgi:
    """Give each request an id, as nginx does in production."""

    def identified(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["HTTP_X_REQUEST_ID"] = uuid.uuid4().hex
        return application(environ, start_response)

    return identified


class Connection(WSGIRequestHandler):
    """One request: Werkzeug keeps no connection alive. Knows which are still to be answered."""

    open: ClassVar[set[Connection]] = set()

    def setup(self) -> None:
        self.since = time.monotonic()
        self.raw_requestline = b""
        self.open.add(self)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.open.discard(self)

    def pending(self) -> bool:
        """True unless it is one that a browser opened ahead of need."""
        return bool(self.raw_requestline) or time.monotonic() - self.since < 0.1


def main() -> None:
    """Serve until TERM; what was accepted before is answered."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is being served yet
    application = with_request_id(load())
    server = make_server(
        "0.0.0.0", 0, application, threaded=True, request_handler=Connection, fd=FIRST_DESCRIPTOR
    )
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    server.serve_forever(poll_interval=0.02)
    time.sleep(0.02)
    while any(connection.pending() for connection in list(Connection.open)):
        time.sleep(0.01)


if __name__ == "__main__":
    main()
