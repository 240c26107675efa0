"""WebSockets: views that take the connection with nginx, and speak the protocol themselves.

A library such as simple-websocket takes the connection out of the WSGI environment, where
Werkzeug's own server has it. Such a view runs for as long as its client stays. So it runs in a
thread of its own (with gevent, a greenlet), and the server's thread waits only until the view has
responded or has taken the connection. Then the server gets its thread back, without a response, and
forgets the connection.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from docker_flask.request.parts import connection_of
from docker_flask.request.web_socket import Refused
from docker_flask.request.wsgi_types import Environ, StartResponse, Wsgi
from docker_flask.worker.watchdog import Watchdog
from docker_flask.worker.web_socket_connection import TICK, Connection
from docker_flask.worker.web_socket_view import View
from docker_flask.worker_options import WorkerOptions

# Seconds from the order to leave until all clients have a close frame; that a client gets to close
# as well; clients that leave at a time.
LEAVE, REPLY, AT_ONCE = 3.0, 0.5, 16


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

    def take(self, application: Wsgi, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """Call an application that may take the connection.

        Returns the body of the response; raises Taken or Refused.
        """
        if self._leaving:
            raise Refused("503 Service Unavailable", "This worker stops. Try again.\n")
        if len(self._open) >= self._maximum:
            raise Refused("503 Service Unavailable", "Too many WebSockets are open.\n")
        view = View(self, Connection(_descriptor(environ), self._largest), start)
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


def _descriptor(environ: Environ) -> int:
    """A descriptor of the connection, which stays when the server closes its own."""
    descriptor = connection_of(environ)
    if descriptor is None:
        raise RuntimeError("the server does not show the connection")
    return os.dup(descriptor)
