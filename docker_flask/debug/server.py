"""The development server: the application within Werkzeug's debugger, on an inherited socket.

Runs as a child of debug/reloader.py. If the application can't be loaded, the server shows a page
with the error.
"""

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import sys
import threading
import uuid
from http.server import HTTPServer
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from docker_flask.debug import static_folder
from docker_flask.debug.debugger import Debugger, failing
from docker_flask.debug.live_reload import FOLDER, LiveReload
from docker_flask.plan import limits
from docker_flask.plan.settings import Settings, read, resolve
from docker_flask.shared import notify
from docker_flask.shared.certificate import CHAIN, KEY
from docker_flask.shared.log import log
from docker_flask.shared.paths import DEBUG_PORT
from docker_flask.shared.process import FIRST_DESCRIPTOR
from docker_flask.shared.setting_error import SettingError
from docker_flask.worker.find import find_app, load_errors, slow_load
from docker_flask.worker.find.callables import is_flask
from docker_flask.worker.hooks import static_guard
from docker_flask.worker.middleware.wsgi_types import Environ, Wsgi

# The descriptors that the reloader gives: the port, and its end of a channel for messages.
LISTENER, CHANNEL = FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + 1
# Seconds for the first byte of a request. Browsers open connections in advance, and these must not
# keep the server from its end.
FIRST_BYTE_TIMEOUT = 0.4
# What terminals obey: in a line of a request, and in what it means.
CONTROL, C1 = re.compile(rb"[\x00-\x1f\x7f]"), dict.fromkeys(range(0x80, 0xA0), "?")
# Werkzeug's colours.
COLOUR = re.compile(r"\x1b\[\d+m")
# Seconds for the handshake of HTTPS, which each connection does in its own thread.
HANDSHAKE_TIMEOUT = 5.0


def load(settings: Settings) -> Wsgi:
    """The application; if it fails to load, an application that shows the error."""
    try:
        if settings.debugpy:
            listen_for_editors(settings.debugpy)
        with slow_load.reported(settings.start_timeout):
            found = find_app.load(Path.cwd())
    except find_app.NotFound as error:
        log(str(error))
        return failing(error.with_traceback(None), settings)
    except BaseException as error:
        print(load_errors.report(error), file=sys.stderr, flush=True)
        return failing(error, settings)
    log(f"serving {found.name} ({found.reason}) on port {DEBUG_PORT}")
    if found.note:
        log(found.note)
    module = str(getattr(found.application, "import_name", found.name)).partition(":")[0]
    if "/site-packages/" in (file := getattr(sys.modules.get(module), "__file__", "") or ""):
        log(f"it is in {file}, where edits in {Path.cwd()} change nothing: pip install -e")
    if is_flask(found.application):
        static_guard.protect(found.application)
        found.application.config["USE_X_SENDFILE"] = False  # nobody reads that header here
    if hasattr(found.application, "debug"):
        found.application.debug = True
    return Debugger(static_folder.wrap(found.application, settings), settings)


class EditorSocket(socket.socket):
    """Refuses HTTP: debugpy would skip its lines, and obey the body of any web page's POST."""

    def accept(self) -> tuple[socket.socket, Any]:
        while True:
            connection, address = super().accept()
            connection.settimeout(1.0)  # editors send their first message immediately
            with contextlib.suppress(OSError):
                if connection.recv(15, socket.MSG_PEEK) == b"Content-Length:":
                    connection.settimeout(None)
                    return connection, address
            connection.close()


def listen_for_editors(port: int) -> None:
    """Let debugpy listen in this process: its own one would keep the port after an edit."""
    import debugpy.server.api

    pydevd: Any = sys.modules["pydevd"]
    bind = pydevd.create_server_socket
    pydevd.create_server_socket = lambda **at: EditorSocket(fileno=bind(**at).detach())
    # `docker run -p` decides who reaches the port.
    debugpy.listen(("0.0.0.0", port), in_process_debug_adapter=True)  # noqa: S104


class Connection(WSGIRequestHandler):
    """A connection with one request, as Werkzeug closes it then; script_name: the setting."""

    script_name = ""

    def handle(self) -> None:
        if self.server.ssl_context:
            self.connection.settimeout(HANDSHAKE_TIMEOUT)
            try:
                self.connection.do_handshake()
            except OSError as error:  # also of a client that speaks HTTP here
                self.log_error("no HTTPS connection: %s", error)
                return
            self.connection.settimeout(None)
        if select.select([self.connection], [], [], FIRST_BYTE_TIMEOUT)[0]:
            super().handle()

    def parse_request(self) -> bool:
        """Refuse control characters, as nginx does: an older Werkzeug writes them to the log."""
        if not CONTROL.search(self.raw_requestline.rstrip(b"\r\n")):
            return super().parse_request()
        self.requestline = self.command = self.request_version = ""
        self.send_error(400)
        return False

    def make_environ(self) -> Environ:
        """What the application gets behind nginx, but for odd targets."""
        environ = super().make_environ()
        environ["SERVER_NAME"] = "localhost"
        environ["REMOTE_PORT"] = str(environ["REMOTE_PORT"])
        environ["HTTP_X_REQUEST_ID"] = uuid.uuid4().hex
        if self.server.ssl_context:
            environ["HTTPS"] = "on"
        environ.pop("HTTP_PROXY", None)  # https://httpoxy.org
        environ["SCRIPT_NAME"], path = self.script_name, environ["PATH_INFO"]
        if path == self.script_name or path.startswith(f"{self.script_name}/"):
            environ["PATH_INFO"] = path[len(self.script_name) :]
        return environ

    def log_request(self, *arguments: Any) -> None:
        """Log a request, unless it is one of the image's own script."""
        path = getattr(self, "path", "")  # not there for a request that is none
        if not path.removeprefix(self.script_name).startswith(FOLDER):
            super().log_request(*arguments)

    def log(self, kind: str, message: str, *words: Any) -> None:
        """Log without the control characters that an older Werkzeug decodes: `%c2%9b`.

        Colours are for terminals.
        """
        texts = [word.translate(C1) if isinstance(word, str) else word for word in words]
        if not sys.stderr.isatty():
            texts = [COLOUR.sub("", word) if isinstance(word, str) else word for word in texts]
        super().log(kind, message, *texts)


def pass_edits_on(descriptor: int, live: LiveReload) -> None:
    """Notify pages of the edits that the reloader sees."""
    channel = socket.socket(fileno=os.dup(descriptor))
    while notify.receive(channel):
        live.page_edited()


def main() -> None:
    """Serve until TERM, then complete the requests that were accepted before."""
    certificate = sys.argv.pop()  # its folder, or ""; the application gets no arguments
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # no request is active yet
    try:
        settings, _ = resolve(read(os.environ), limits.read())
    except SettingError as error:  # a folder or a file has gone since the last start
        sys.exit(f"docker-flask: {error}")
    application = load(settings)
    live = LiveReload(application)
    Connection.script_name = settings.script_name or ""
    server = make_server(
        "0.0.0.0",  # noqa: S104 (not used: the reloader has bound the descriptor)
        0,
        live if settings.live_reload else application,
        threaded=True,
        request_handler=Connection,
        fd=LISTENER,
    )
    if certificate:
        context = server.ssl_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(f"{certificate}/{CHAIN}", f"{certificate}/{KEY}")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = False  # type: ignore[attr-defined]  # the server's end waits for them

    def stop() -> None:
        live.end()
        server.shutdown()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    threading.Thread(target=pass_edits_on, args=(CHANNEL, live), daemon=True).start()
    notify.send(CHANNEL, "serving")
    # Not Werkzeug's own method, which has no interval before Werkzeug 2.
    HTTPServer.serve_forever(server, poll_interval=0.02)
    server.server_close()  # waits for the requests


if __name__ == "__main__":
    main()
