"""The development server: the application within Werkzeug's debugger, on an inherited socket.

Runs as a child of debug/reloader.py. If the application can't be loaded, the server shows a page
with the error.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from email import errors
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from werkzeug import serving
from werkzeug.serving import WSGIRequestHandler, make_server

from docker_flask import notify
from docker_flask.debug.debugger import Debugger, failing
from docker_flask.debug.live_reload import FOLDER, LiveReload
from docker_flask.debug.loaded_files import LoadedFiles
from docker_flask.discovery import find_app, instance_folder, permission_hints
from docker_flask.discovery.callables import is_flask
from docker_flask.log import log
from docker_flask.paths import DEBUG_PORT
from docker_flask.process import FIRST_DESCRIPTOR
from docker_flask.request.wsgi_types import Environ, Wsgi
from docker_flask.worker_options import DebugOptions

# A line that ends Python's search for headers, or that it skips. There are other defects, because
# Python reads headers as those of an e-mail.
NO_HEADER = (
    errors.MissingHeaderBodySeparatorDefect,
    errors.FirstHeaderLineIsContinuationDefect,
    errors.MisplacedEnvelopeHeaderDefect,
    errors.InvalidHeaderDefect,
)
# In a request's target: the scheme and the host; a part `.`; a part `..` and the one before it.
_HOST = re.compile(r"^\w+://[^/?#]*/?")
_DOTS = re.compile(r"/\.(/|$)|/[^/]*/\.\.(/|$)")


def load(options: DebugOptions) -> Wsgi:
    """The application; if it fails to load, an application that shows the error."""
    if options.problem:
        problem = f"{options.problem} while it loaded the application; see its log"
        return failing(RuntimeError(problem), options)
    permission_hints.watch()
    try:
        found = find_app.load(Path.cwd())
    except BaseException as error:
        traceback.print_exc()
        permission_hints.explain(error)
        return failing(error, options)
    for line in instance_folder.report():
        log(line)
    log(f"serving {found.name} ({found.reason}) on port {DEBUG_PORT}")
    if is_flask(found.application):
        found.application.config["USE_X_SENDFILE"] = False  # nobody reads that header here
    if hasattr(found.application, "debug"):
        found.application.debug = True
    return Debugger(found.application, options)


def path_of(uri: str) -> str:
    """The path of an address, decoded and without `.` and `..`, as nginx reads it.

    uri: its bytes as Latin-1, as all texts in the WSGI environment.
    """
    path = unquote_to_bytes(re.split("[?#]", uri)[0].encode("latin-1")).decode("latin-1")
    while path != (shorter := _DOTS.sub("/", path)):
        path = shorter
    return path


class Connection(WSGIRequestHandler):
    """A connection with one request, as Werkzeug closes it then.

    open: the connections without a complete response.
    """

    open: ClassVar[set[Connection]] = set()
    raw_requestline = b""
    path = ""

    def setup(self) -> None:
        self.since = time.monotonic()
        self.open.add(self)
        super().setup()

    def parse_request(self) -> bool:
        """Refuse a line that is no header: Python drops the lines after it, even a proxy's."""
        valid = super().parse_request()
        if valid and any(isinstance(defect, NO_HEADER) for defect in self.headers.defects):
            self.send_error(400, "Bad header")
            return False
        return valid

    def make_environ(self) -> Environ:
        """What the application gets behind nginx."""
        environ = super().make_environ()
        uri = _HOST.sub("/", self.path)
        environ["REQUEST_URI"] = environ["RAW_URI"] = uri
        environ["PATH_INFO"] = path_of(uri)
        environ["SERVER_NAME"] = "localhost"
        environ["REMOTE_PORT"] = str(environ["REMOTE_PORT"])
        environ["HTTP_X_REQUEST_ID"] = uuid.uuid4().hex
        environ.pop("HTTP_PROXY", None)  # https://httpoxy.org
        return environ

    def log_request(self, *arguments: Any) -> None:
        """Log a request, unless it is one of the image's own script."""
        if not self.path.startswith(FOLDER):
            super().log_request(*arguments)

    def finish(self) -> None:
        super().finish()
        self.open.discard(self)

    def pending(self) -> bool:
        """False if a browser has opened this connection in advance, and has sent no request."""
        return bool(self.raw_requestline) or time.monotonic() - self.since < 0.1


def listen_for_editors(port: int) -> None:
    """Let editors attach. debugpy's own process would keep the port after an edit."""
    import debugpy

    address = "0.0.0.0", port  # noqa: S104 (`docker run -p` decides who reaches the port)
    try:
        socket.create_server(address).close()
    except OSError as error:
        log(f"no editor can attach to port {port} (DEBUGPY): {error.strerror}")
        return
    debugpy.listen(address, in_process_debug_adapter=True)


def pass_edits_on(descriptor: int, live: LiveReload) -> None:
    """Notify pages of the edits that the reloader sees."""
    channel = socket.socket(fileno=os.dup(descriptor))
    while notify.receive(channel):
        live.page_edited()


def main() -> None:
    """Serve until TERM, then complete the requests that were accepted before."""
    options = DebugOptions.from_environment()
    serving._log_add_style = sys.stderr.isatty()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # no request is active yet
    loaded_files = LoadedFiles(options.notify_fd)
    loaded_files.report()
    if options.debugpy:
        listen_for_editors(options.debugpy)
    application = load(options)
    loaded_files.report()
    live = LiveReload(application) if options.live_reload else None
    server = make_server(
        "0.0.0.0",  # noqa: S104 (not used: the reloader has bound the descriptor)
        0,
        live or application,
        threaded=True,
        request_handler=Connection,
        fd=FIRST_DESCRIPTOR,
    )
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    if live:
        threading.Thread(target=pass_edits_on, args=(options.notify_fd, live), daemon=True).start()
    notify.send(options.notify_fd, "serving")
    server.service_actions = loaded_files.report  # type: ignore[method-assign]  # at every poll
    server.serve_forever(poll_interval=0.02)
    if live:
        live.end()
    time.sleep(0.02)
    while any(connection.pending() for connection in list(Connection.open)):
        time.sleep(0.01)


if __name__ == "__main__":
    main()
