"""WebSockets: views that take the connection with nginx, and speak the protocol themselves.

A library such as simple-websocket takes the connection out of the WSGI environment, where
Werkzeug's own server has it. Such a view runs for as long as its client stays. So it runs in a
thread of its own (with gevent, a greenlet), and the server's thread waits only until the view has
responded or has taken the connection. Then the server gets its thread back, without a response, and
forgets the connection.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from docker_flask.log import log
from docker_flask.worker import frames
from docker_flask.worker.watchdog import Watchdog
from docker_flask.worker.wsgi_types import Environ, Headers, StartResponse, Wsgi

# Seconds that a view gets to respond to what it has received, before its client gets a close frame;
# and from the order to leave until all clients have one.
RESPOND, LEAVE = 0.5, 3.0
# Seconds that a client gets to close as well; clients that leave at a time; seconds between two
# looks.
REPLY, AT_ONCE, TICK = 0.5, 16, 0.01
# Seconds that nginx gets to close its end.
LINGER = 2.0
BLOCK = 1 << 16


class Taken(Exception):
    """The view has taken the connection: there is no response."""


class Refused(Exception):
    """A handshake that gets another response; status: of the response."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WebSockets:
    """The WebSockets of a worker.

    maximum: how many there may be; largest: bytes of a message; timeout: seconds in which a view
    has to respond; leave_fd: a pipe whose end says that all have to leave; report: tells the
    supervisor how many there are.
    """

    def __init__(
        self,
        maximum: int,
        largest: int,
        timeout: float,
        leave_fd: int,
        watchdog: Watchdog,
        report: Callable[[int], Any],
    ) -> None:
        self.largest = largest
        self.watchdog = watchdog
        self._maximum, self._timeout = maximum, timeout
        self._leave_fd, self._wake_fd = leave_fd, os.eventfd(0)
        self._report = report
        self._open: set[Connection] = watchdog.web_sockets
        self._leaving = self._is_watched = False

    def call(self, application: Wsgi, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """Call an application that may take the connection.

        Returns the body of the response; raises Taken or Refused.
        """
        if not is_handshake(environ):
            return application(environ, start)
        if self._leaving:
            raise Refused("503 Service Unavailable", "This worker stops. Try again.\n")
        if len(self._open) >= self._maximum:
            raise Refused("503 Service Unavailable", "Too many WebSockets are open.\n")
        view = View(self, Connection(_descriptor(environ), self.largest), start)
        try:
            threading.Thread(target=view.run, args=(application, environ), name="WebSocket").start()
        except RuntimeError:  # the kernel allows no more threads
            view.connection.discard()
            raise Refused("503 Service Unavailable", "Too many WebSockets are open.\n") from None
        return view.response(self._timeout)

    def leave(self) -> None:
        """Let all clients leave; any thread may call this."""
        os.eventfd_write(self._wake_fd, 1)

    def opened(self, connection: Connection) -> None:
        """Note a connection that a view has taken."""
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._wait_for_order, daemon=True).start()
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
        begun = time.monotonic()
        while self._open and time.monotonic() - begun < LEAVE + REPLY:
            self._let_some_leave(begun)
            time.sleep(TICK)
        for connection in list(self._open):
            self._cut(connection)

    def _let_some_leave(self, begun: float) -> None:
        """Send close frames to a few clients at a time: threads that all wake up at once would only
        compete for the interpreter."""
        now, poll = time.monotonic(), select.poll()
        leaving = 0
        for connection in list(self._open):
            if not connection.left_at:
                poll.register(connection, select.POLLIN)
            elif now - connection.left_at > REPLY:
                self._cut(connection)
            else:
                leaving += 1
        unread = {descriptor for descriptor, _ in poll.poll(0)}
        for connection in list(self._open):
            if now - begun < LEAVE and (
                leaving >= AT_ONCE or connection.fileno() in unread or connection.may_respond(now)
            ):
                continue
            if not connection.left_at:
                connection.leave()
                leaving += bool(connection.left_at)

    def _cut(self, connection: Connection) -> None:
        connection.cut()
        self._open.discard(connection)


class View:
    """One call of an application that may take the connection."""

    def __init__(
        self, web_sockets: WebSockets, connection: Connection, start: StartResponse
    ) -> None:
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


class Connection:
    """Stands in for the socket of a request; a library uses it like the socket itself.

    A library sends whole frames: a close frame may follow each of its calls.
    on_use: is called once, when the connection is used; it calls `open`, or raises OSError.
    left_at: when the client got a close frame, 0 before.
    """

    def __init__(self, descriptor: int, largest: int) -> None:
        self.on_use: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._socket: Any = None
        self._using, self._sending = threading.Lock(), threading.Lock()
        self._messages = frames.Messages(largest)
        self._largest = largest
        self.left_at = 0.0
        # When the view received something; 0 if it has sent something since.
        self._owes_since = 0.0
        # When it was first found that the client is gone.
        self._broken_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._used(), name)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def open(self) -> None:
        """Make the socket; before, the server may still use the connection."""
        self._socket = socket.socket(fileno=self._descriptor)
        self._socket.settimeout(None)  # uWSGI's is nonblocking

    def send(self, data: bytes, *_flags: int) -> int:
        """Send all data, as a blocking socket does."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes, *_flags: int) -> None:
        """Send all data; after the close frame, nothing."""
        connection = self._used()
        with self._sending:
            if self.left_at:
                return
            try:
                connection.sendall(data)
            except OSError:
                # As with TCP, data is lost in silence until the library has read the end.
                now = time.monotonic()
                self._broken_at = self._broken_at or now
                if now - self._broken_at > LINGER:
                    raise
                time.sleep(TICK)
            self._owes_since = 0.0

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive data; the end of the connection if a message is too large."""
        connection = self._used()
        # At any moment, data waits in the kernel, or the view owes a response to it.
        if connection.recv(1, socket.MSG_PEEK):
            self._owes_since = self._owes_since or time.monotonic()
        data: bytes = connection.recv(size, *flags)
        if self._messages.fit(data):
            return data
        log(
            f"closed a WebSocket, because a message has more than {self._largest:,} bytes: set "
            "WEBSOCKET_MAX_MESSAGE for larger ones"
        )
        with self._sending:
            self._send_close(frames.TOO_BIG)
        self.close()
        return b""

    def close(self) -> None:
        """End the connection; the descriptor stays until the view has ended."""
        with contextlib.suppress(OSError):
            self._used().shutdown(socket.SHUT_WR)

    def may_respond(self, now: float) -> bool:
        """True while the view may respond to what it has received, before its client leaves."""
        return now - self._owes_since < RESPOND

    def leave(self) -> None:
        """Send a close frame."""
        if not self.left_at and self._sending.acquire(
            blocking=False
        ):  # else the client does not read
            try:
                self._send_close(frames.GOING_AWAY)
            finally:
                self._sending.release()

    def cut(self) -> None:
        """End the connection for client and view."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close the connection after the view; unread data would reset it before its end."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while poll.poll(LINGER * 1000):
                with contextlib.suppress(BlockingIOError):  # the library was faster
                    if not self._raw.recv(BLOCK, socket.MSG_DONTWAIT):
                        break
        self.cut()
        self._socket.close()

    def discard(self) -> None:
        """Close the descriptor of a connection that no view has used."""
        os.close(self._descriptor)

    def _used(self) -> Any:
        with self._using:
            if not self._socket:
                self.on_use()
        return self._socket

    @property
    def _raw(self) -> Any:
        """The socket itself, also with gevent: does not wait, and another greenlet may use it."""
        return getattr(self._socket, "_sock", self._socket)

    def _send_close(self, code: int) -> None:
        try:
            self._raw.send(frames.close(code), socket.MSG_DONTWAIT)
        except BlockingIOError:  # the client reads nothing
            return
        except OSError:
            pass
        self.left_at = time.monotonic()


def notes(workers: int) -> list[str]:
    """Lines for the log; workers: how many may run."""
    if workers == 1 or "flask_socketio" not in sys.modules:
        return []
    return [
        "Flask-SocketIO with several workers: a client that begins with long polling gets 400, "
        'because its requests reach different workers; let clients use transports: ["websocket"], '
        "or set WEB_CONCURRENCY=1 and THREADS=64"
    ]


def is_handshake(environ: Environ) -> bool:
    """True for the first request of a WebSocket (RFC 6455, section 4.2.1)."""
    tokens = environ.get("HTTP_CONNECTION", "").lower().split(",")
    return (
        environ["HTTP_UPGRADE"].lower() == "websocket"
        and "upgrade" in [token.strip() for token in tokens]
        and environ["REQUEST_METHOD"] == "GET"
        and "HTTP_SEC_WEBSOCKET_KEY" in environ
        and environ.get("CONTENT_LENGTH", "") in ("", "0")
    )


def _descriptor(environ: Environ) -> int:
    """A descriptor of the connection, which stays when the server closes its own."""
    if connection := environ.get("gunicorn.socket"):
        return os.dup(connection.fileno())
    uwsgi = sys.modules["uwsgi"]
    return os.dup(uwsgi.connection_fd())
