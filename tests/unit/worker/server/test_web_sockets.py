"""Views that take the connection: who sends what, and when clients have to leave."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware.application import call
from docker_flask.worker.middleware.exchange import Exchange
from docker_flask.worker.server import frames
from docker_flask.worker.server.late_threads import LateThreads
from docker_flask.worker.server.watchdog import Watchdog
from docker_flask.worker.server.web_sockets import WebSockets
from docker_flask.worker.server.worker_process import WorkerProcess
from tests.support.harness import wait_for

ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
CLOSE = frames.close(frames.GOING_AWAY)
TIMEOUT = 0.3


class Worker:
    """A worker with WebSockets, and the other end of its connection."""

    def __init__(self) -> None:
        self.nginx, self.connection = socket.socketpair()
        self.nginx.settimeout(5)
        order, _ = os.pipe()  # to leave: nobody gives it here
        self.watchdog = Watchdog(60, 60, WorkerProcess(0), LateThreads(60, lambda *_: None))
        options = WorkerOptions(
            max_web_sockets=2, max_message=100, request_timeout=TIMEOUT, leave_fd=order
        )
        self.sockets = WebSockets(options, self.watchdog, lambda _: None)

    def call(self, view: Any, **headers: str) -> Any:
        """Call a view as a server does."""
        environ = {
            "REQUEST_METHOD": "GET",
            "HTTP_UPGRADE": "websocket",
            "HTTP_CONNECTION": "keep-alive, Upgrade",
            "HTTP_SEC_WEBSOCKET_KEY": "key",
            "HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate",
            "gunicorn.socket": self.connection,
            **headers,
        }
        self.exchange = Exchange(environ)
        return self.sockets.handshakes(call(view))(self.exchange)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.nginx.close()
    worker.connection.close()
    worker.sockets.leave()
    wait_for(lambda: not worker.watchdog.web_sockets, 5, "the views to end")


def echo(connection: Any) -> None:
    """A view that sends back what it gets, up to the end."""
    while data := connection.recv(100):
        connection.send(data)


def test_a_view_that_responds_does_so_by_its_server(worker: Worker) -> None:
    seen: dict[str, Any] = {}

    def view(environ: Any, start: Any) -> list[bytes]:
        seen.update(environ, thread=threading.current_thread())
        start("200 OK", [])
        return [b"returned"]

    before = len(os.listdir("/proc/self/fd"))
    body = worker.call(view, HTTP_UPGRADE="h2c")
    assert (list(body), seen["thread"]) == ([b"returned"], threading.current_thread())
    assert "werkzeug.socket" not in seen
    seen.clear()
    # A handshake runs elsewhere, and its response is the same.
    assert list(worker.call(view)) == [b"returned"]
    assert seen["thread"] is not threading.current_thread()
    assert "HTTP_SEC_WEBSOCKET_EXTENSIONS" not in seen
    assert worker.exchange.status == "200 OK"
    assert len(os.listdir("/proc/self/fd")) == before
    assert not worker.watchdog.requests


def test_a_view_that_takes_too_long_may_take_nothing(worker: Worker) -> None:
    problems: list[OSError] = []
    late = threading.Event()

    def view(environ: Any, start: Any) -> list[bytes]:
        assert len(worker.watchdog.requests) == 1, "it counts as a request"
        late.wait(5)
        start("200 OK", [])
        try:
            environ["werkzeug.socket"].send(ACCEPT)
        except OSError as problem:
            problems.append(problem)
        return []

    worker.call(view)
    late.set()
    wait_for(lambda: problems, 5, "the view to fail")
    assert worker.exchange.status == "504 Gateway Timeout"


def test_more_than_may_be_open_are_refused(worker: Worker) -> None:
    worker.watchdog.web_sockets |= {1, 2}
    assert worker.call(echo) == [b"Too many WebSockets are open.\n"]
    worker.watchdog.web_sockets.clear()


def test_a_client_leaves_after_the_response_to_its_handshake(worker: Worker) -> None:
    """A close frame in place of the response is a 502."""
    taken, respond = threading.Event(), threading.Event()

    def view(environ: Any, start: Any) -> None:
        connection = environ["werkzeug.socket"]
        connection.settimeout(5)  # a library may use the connection before it responds
        taken.set()
        respond.wait(5)
        connection.send(ACCEPT)
        echo(connection)

    assert not [*worker.call(view)]
    worker.connection.close()
    assert taken.wait(5)
    worker.sockets.leave()
    wait_for(lambda: worker.sockets._leaving, 5, "the order to arrive")
    time.sleep(0.05)  # several tries to send
    respond.set()
    assert worker.nginx.recv(len(ACCEPT)) == ACCEPT
    assert worker.nginx.recv(100) == CLOSE
