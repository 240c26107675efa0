"""The development server: the application under Werkzeug's debugger, on an inherited socket.

Runs in the application's Python, as a child of debug/supervisor.py. An application that can't be
loaded is served as the page that says why.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import sys
import sysconfig
import threading
import time
import traceback
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.debug import DebuggedApplication
from werkzeug.serving import WSGIRequestHandler, make_server

from docker_flask import notify
from docker_flask.discovery import find_app
from docker_flask.log import log
from docker_flask.process import FIRST_DESCRIPTOR
from docker_flask.worker import proxy_headers, sendfile
from docker_flask.worker.wsgi_types import Environ, Headers, StartResponse, Wsgi
from docker_flask.worker_options import DebugOptions


def load(options: DebugOptions) -> Wsgi:
    """The application; one that fails to load is one that raises the same at each request."""
    if options.problem:
        problem = f"{options.problem} while it loaded the application; see its log"
        return _failed(RuntimeError(problem), options)
    os.environ["FLASK_RUN_FROM_CLI"] = "true"  # `app.run()` at a module's top level is ignored
    try:
        found = find_app.load(Path.cwd())
    except BaseException as error:
        traceback.print_exc()
        return _failed(error, options)
    finally:
        os.environ.pop("FLASK_RUN_FROM_CLI", None)
    log(f"serving {found.name} ({found.reason})")
    sendfile.without_x_sendfile(found.application)
    if hasattr(found.application, "debug"):
        found.application.debug = True
    return Debugger(found.application, options)


def _failed(error: BaseException, options: DebugOptions) -> Wsgi:
    # The debugger handles exceptions only, not SystemExit.
    shown = error if isinstance(error, Exception) else RuntimeError(f"at import: {error!r}")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise shown.with_traceback(error.__traceback__)

    debugger = Debugger(application, options)

    def quietly(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # The log has shown it once.
        return debugger({**environ, "wsgi.errors": io.StringIO()}, start_response)

    return quietly


class Debugger(DebuggedApplication):
    """Werkzeug's debugger, for those hosts that are trusted with it."""

    def __init__(self, application: Wsgi, options: DebugOptions) -> None:
        # Within the debugger, which thus goes by the real host: a page that a browser was lured to
        # could name another. Also without proxies, because it drops what clients say of themselves.
        within = proxy_headers.TrustedProxies(application, options.trusted_proxies)
        super().__init__(
            within,
            evalex=True,
            console_init_func=lambda: {"app": application},
            # debug/supervisor.py has printed the PIN.
            pin_logging=False,
        )
        self.pin_logging = True  # it is printed again when a browser asks for it
        self.trusted_hosts = [*getattr(self, "trusted_hosts", []), *options.debug_hosts]
        self.told = False

    def debug_application(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """Let the page about an error replace an answer that failed before its first byte."""

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            # As in production (docker_flask/worker/response.py).
            headers = [pair for pair in headers if pair[0].lower() != "transfer-encoding"]
            # Here it has a traceback; Werkzeug's server would not answer at all.
            "".join(itertools.chain(*headers)).encode("latin-1")
            # Werkzeug's server takes a second start for an error only with what was caught.
            caught = sys.exc_info()
            return start_response(status, headers, exc_info or (caught if caught[0] else None))

        return super().debug_application(environ, start)

    def check_host_trust(self, environ: Environ) -> bool:
        """True if a request came by a name that may use the consoles; says once how to allow it."""
        trusted = super().check_host_trust(environ)
        if not trusted and not self.told:
            self.told = True
            host = environ.get("HTTP_HOST", "")
            log(f"the debugger runs no code for {host!r}; to allow that, name it in DEBUG_HOSTS")
        return trusted


def with_request_id(application: Wsgi) -> Wsgi:
    """Give each request an id, as nginx does in production."""

    def identified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
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


class Places:
    """Where source lies outside of the working directory; tells debug/supervisor.py to watch it."""

    # What is installed is not edited.
    PACKAGES = re.compile(r"/(site|dist)-packages(/|$)")
    INSTALLED = (sysconfig.get_path("stdlib"), str(Path(__file__).parents[2]))

    def __init__(self, notify_fd: int) -> None:
        self.notify_fd = notify_fd
        self.watched = [os.getcwd()]
        self.modules = 0

    def tell(self) -> None:
        """Tell of folders on sys.path, and of modules elsewhere, that are new since last time."""
        if len(sys.modules) == self.modules:
            return
        self.modules = len(sys.modules)
        # A folder such as /, which holds all the others, is none of source.
        folders = [f for f in sys.path if os.path.isdir(f) and not _within([f], sys.prefix)]
        for place in [*folders, *_files(list(sys.modules.values()))]:
            path = os.path.abspath(place)
            known = _within(self.watched, path) and (os.path.isdir(path) or path.endswith(".py"))
            if not known and not _within(self.INSTALLED, path) and not self.PACKAGES.search(path):
                self.watched.append(path)
                notify.send(self.notify_fd, "source", path)


def _files(modules: Iterable[Any]) -> Iterable[str]:
    for module in modules:
        # Asked of __dict__, or a module that loads itself late would do so.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            yield file


def _within(folders: Iterable[str], path: str) -> bool:
    return any(os.path.join(path, "").startswith(os.path.join(folder, "")) for folder in folders)


def main() -> None:
    """Serve until TERM; what was accepted before is answered."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is being served yet
    options = DebugOptions.from_environment()
    places = Places(options.notify_fd)
    places.tell()
    application = with_request_id(load(options))
    places.tell()
    server = make_server(
        "0.0.0.0", 0, application, threaded=True, request_handler=Connection, fd=FIRST_DESCRIPTOR
    )
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    notify.send(options.notify_fd, "serving")
    server.service_actions = places.tell  # type: ignore[method-assign]  # at every poll
    server.serve_forever(poll_interval=0.02)
    time.sleep(0.02)
    while any(connection.pending() for connection in list(Connection.open)):
        time.sleep(0.01)


if __name__ == "__main__":
    main()
