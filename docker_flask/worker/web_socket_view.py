"""A view that may take the connection of its request."""

from __future__ import annotations

import contextlib
import io
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from docker_flask.request.web_socket import Refused, Taken
from docker_flask.request.wsgi_types import Environ, Headers, StartResponse, Wsgi
from docker_flask.worker.watchdog import Watchdog
from docker_flask.worker.web_socket_connection import Connection


class Open(Protocol):
    """The open WebSockets of a worker."""

    watchdog: Watchdog

    def opened(self, connection: Connection) -> None:
        """Note a connection that a view has taken."""

    def ended(self, connection: Connection) -> None:
        """Note a connection whose view has ended."""


class View:
    """One call of an application that may take the connection."""

    def __init__(self, web_sockets: Open, connection: Connection, start: StartResponse) -> None:
        self.connection = connection
        connection.on_use = self._take
        self._web_sockets = web_sockets
        self._start_response = start
        self._lock = threading.Lock()
        # The view has responded, has taken the connection, or took too long.
        self._settled = threading.Event()
        self._is_open = True
        self._is_taken = False
        self._started: tuple[Any, ...] = ()
        self._written: list[bytes] = []
        self._result: Iterable[bytes] = ()
        self._error: BaseException | None = None

    def run(self, application: Wsgi, environ: Environ) -> None:
        """Call the application; the thread of this view does."""
        self._thread = threading.get_ident()
        self._web_sockets.watchdog.begin(self._thread)
        own: Environ = {
            **environ,
            "wsgi.input": io.BytesIO(),
            "werkzeug.socket": self.connection,
        }
        # A compressed message may take any memory, and each connection would need much of it.
        own.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        if "gunicorn.socket" in own:
            own["gunicorn.socket"] = self.connection
        try:
            self._result = application(own, self._start)
        except BaseException as error:
            self._error = error
        finally:
            self._web_sockets.watchdog.forget(self._thread)
            with self._lock:
                self._is_open = False
            if not self._is_taken:
                self.connection.discard()
            self._settled.set()
            if self._is_taken:
                self._end()

    def response(self, seconds: float) -> Iterable[bytes]:
        """Wait for the view; the thread of the server does. Raises Taken or Refused."""
        self._settled.wait(seconds)
        with self._lock:
            is_late = self._is_open and not self._is_taken
            self._is_open = False
        if is_late:
            reason = "The application takes too long to respond.\n"
            raise Refused("504 Gateway Timeout", reason)
        if self._is_taken:
            raise Taken
        if self._error:
            raise self._error
        if self._started:
            write = self._start_response(*self._started)
            if self._written:
                write(b"".join(self._written))
        return self._result

    def _start(self, status: str, headers: Headers, *exc_info: Any) -> Callable[[bytes], Any]:
        """The application's `start_response`: in this thread, the server's would fail."""
        if self._settled.is_set() and not self._is_taken:
            write: Callable[[bytes], Any] = self._start_response(status, headers, *exc_info)
            return write
        self._started = status, headers, *exc_info
        return self._written.append

    def _take(self) -> None:
        """Keep the connection: the view uses it."""
        with self._lock:
            if not self._is_open:
                raise ConnectionAbortedError("the connection belongs to the server")
            self._is_taken = True
        self.connection.open()
        self._web_sockets.watchdog.forget(self._thread)
        self._web_sockets.opened(self.connection)
        self._settled.set()

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
