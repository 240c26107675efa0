"""WebSockets: views that take the connection with nginx, and speak the protocol themselves.

A library such as simple-websocket takes the connection out of the WSGI environment, where
Werkzeug's own server has it. Such a view runs for as long as its client stays. So it runs in a
thread of its own (with gevent, a greenlet), and the server's thread waits only until the view has
responded or has taken the connection. Then the server gets its thread back, without a response, and
forgets the connection.
"""

import contextlib
import io
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.hooks.after_import import after_import
from docker_flask.worker.middleware.exchange import Exchange, Handler
from docker_flask.worker.middleware.wsgi_types import Environ
from docker_flask.worker.server.watchdog import Watchdog
from docker_flask.worker.server.web_socket_connection import TICK, Connection, bound_messages

# Seconds from the order to leave until all clients have a close frame; that the last client gets to
# close as well; the longest pause between two clients.
LEAVE, REPLY, PAUSE = 3.0, 0.5, 0.002


class WebSockets:
    """The WebSockets of a worker; report: tells the supervisor how many there are."""

    def __init__(
        self, options: WorkerOptions, watchdog: Watchdog, report: Callable[[int], Any]
    ) -> None:
        self.watchdog = watchdog
        self._maximum, self._largest = options.max_web_sockets, options.max_message
        self._timeout = options.request_timeout
        self._leave_fd, self._wake_fd = options.leave_fd, os.eventfd(0)
        self._report = report
        self._open: set[Connection] = watchdog.web_sockets
        self._leaving = self._is_watched = False
        after_import("simple_websocket.ws", bound_messages)

    def handshakes(self, handler: Handler) -> Handler:
        """Runs the views of handshakes in threads of their own.

        nginx passes `Upgrade` with handshakes only (nginx/websockets.conf), but the user's
        own nginx.conf may pass it with any request.
        """

        def handle(exchange: Exchange) -> Iterable[bytes]:
            upgrade = exchange.environ.get("HTTP_UPGRADE")
            if upgrade and upgrade.lower() == "websocket":
                return self._take(handler, exchange)
            return handler(exchange)

        return handle

    def _take(self, handler: Handler, exchange: Exchange) -> Iterable[bytes]:
        """Call the application, which may take the connection; returns the body of the response."""
        if self._leaving:
            return _refuse(exchange, b"This worker stops. Try again.\n")
        if len(self._open) >= self._maximum:
            return _refuse(exchange, b"Too many WebSockets are open.\n")
        view = View(self, Connection(_descriptor(exchange.environ), self._largest), exchange)
        try:
            self._start(threading.Thread(target=view.run, args=(handler,), name="WebSocket"))
        except RuntimeError:  # the kernel allows no more threads
            os.close(view.connection.fileno())
            return _refuse(exchange, b"Too many WebSockets are open.\n")
        return view.response(self._timeout)

    def _start(self, thread: threading.Thread) -> None:
        self.watchdog.threads.own.add(thread)
        thread.start()

    def leave(self) -> None:
        """Let all clients leave; any thread may call this."""
        os.eventfd_write(self._wake_fd, 1)

    def opened(self, connection: Connection) -> None:
        """Note a connection that a view has taken."""
        if not self._is_watched:
            self._is_watched = True
            self._start(threading.Thread(target=self._wait_for_order, daemon=True))
        self._open.add(connection)
        self._report(len(self._open))

    def ended(self, connection: Connection) -> None:
        """Note a connection whose view has ended."""
        self._open.discard(connection)
        self._report(len(self._open))

    def _wait_for_order(self) -> None:
        poll = select.poll()
        poll.register(self._leave_fd, select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        poll.poll()
        self._leaving = True
        pause = min(PAUSE, LEAVE / max(1, len(self._open)))
        end = time.monotonic() + REPLY
        while self._open and time.monotonic() < end:
            for connection in [each for each in list(self._open) if not each.has_left]:
                if connection.leave():
                    end = time.monotonic() + REPLY
                # Threads that all wake up at once would only compete for the interpreter.
                time.sleep(pause)
            time.sleep(TICK)
        for connection in list(self._open):
            connection.cut()
            self._open.discard(connection)


class View:
    """One call of the application, which may take the connection.

    exchange: with the server. The view has its own one, because the server may respond before it.
    """

    def __init__(self, web_sockets: WebSockets, connection: Connection, exchange: Exchange) -> None:
        self.connection = connection
        connection.on_use = self._take
        self._web_sockets = web_sockets
        self._exchange = exchange
        # uWSGI empties the other one after the response, and the view may still run.
        self._own = Exchange(dict(exchange.environ))
        self._lock = threading.Lock()
        # The view has responded, has taken the connection, or took too long.
        self._settled = threading.Event()
        self._is_open = True
        self._result: Iterable[bytes] = ()
        self._error: BaseException | None = None

    def run(self, handler: Handler) -> None:
        """Call the application; the thread of this view does."""
        self._thread = threading.get_ident()
        self._web_sockets.watchdog.begin(self._thread, self._own)
        environ = self._own.environ
        environ["werkzeug.socket"] = self.connection
        environ["wsgi.input"] = io.BytesIO()
        # A compressed message may take any memory, and each connection would need much of it.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        if "gunicorn.socket" in environ:
            environ["gunicorn.socket"] = self.connection
        try:
            self._result = handler(self._own)
        except BaseException as error:
            self._error = error
        finally:
            self._forget()
            with self._lock:
                self._is_open = False
            if not self._exchange.is_taken:
                os.close(self.connection.fileno())
            self._settled.set()
            if self._exchange.is_taken:
                self._end()

    def response(self, seconds: float) -> Iterable[bytes]:
        """Wait for the view; the thread of the server does."""
        self._settled.wait(seconds)
        with self._lock:
            is_late, self._is_open = self._is_open, False
        if self._exchange.is_taken:
            return ()
        if is_late:
            text = b"The application takes too long to respond.\n"
            return _refuse(self._exchange, text, "504 Gateway Timeout")
        own = self._own
        self._exchange.result = own.result
        if self._error:
            raise self._error
        self._exchange.status, self._exchange.headers = own.status, own.headers
        self._exchange.names = own.names
        return self._result

    def _take(self) -> None:
        """Keep the connection: the view uses it."""
        with self._lock:
            if not self._is_open:
                raise ConnectionAbortedError("the connection belongs to the server")
            self._exchange.is_taken = True
        self.connection.open()
        self._forget()
        self._web_sockets.opened(self.connection)
        self._settled.set()

    def _forget(self) -> None:
        self._web_sockets.watchdog.requests.pop(self._thread, None)

    def _end(self) -> None:
        """After the view: what it returns belongs to no response."""
        if close := getattr(self._result, "close", None):
            with contextlib.suppress(Exception):
                close()
        # Libraries end a view with these, so that their server sends nothing.
        if self._error and not isinstance(self._error, (OSError, StopIteration)):
            traceback.print_exception(self._error)
        try:
            self.connection.end()
        finally:
            self._web_sockets.ended(self.connection)


def _refuse(
    exchange: Exchange, text: bytes, status: str = "503 Service Unavailable"
) -> list[bytes]:
    """Respond in place of the view, which may still run."""
    exchange.respond(status, ("Retry-After", "2"), ("Content-Type", "text/plain"))
    return [text]


def _descriptor(environ: Environ) -> int:
    """A descriptor of the connection, which stays when the server closes its own."""
    if connection := environ.get("gunicorn.socket"):
        return os.dup(connection.fileno())
    return os.dup(sys.modules["uwsgi"].connection_fd())
