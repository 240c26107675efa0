"""WebSockets in production, by libraries as they are: flask-sock and Flask-SocketIO."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import socketio  # type: ignore[import-untyped]
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.image.test_waiting import Waiting
from tests.support import harness, raw_http, trust
from tests.support.harness import DEBUG, DEBUG_PORT, Container, Engine, wait_for
from tests.support.marks import at_night
from tests.support.servers import SERVERS
from tests.support.web_sockets import Talk, write_app

# One worker, because a client that begins with long polling has to find its own.
ONE = {"WEB_CONCURRENCY": "1", "THREADS": "8"}
GEVENT = {"WEB_CONCURRENCY": "1"}


@pytest.fixture(scope="module")
def folder(module_folder: Path) -> Path:
    """The application, with the packages beside it."""
    write_app(module_folder)
    return module_folder


@pytest.fixture(scope="module")
def container(module_engine: Engine, folder: Path) -> Container:
    """One worker with one thread, and few WebSockets."""
    _, tls = trust.issue(folder)
    env = {
        **{**tls["env"], "TLS_REDIRECT": "0"},
        **{"WEB_CONCURRENCY": "1", "THREADS": "1", "REQUEST_TIMEOUT": "2"},
        **{"WEBSOCKETS": "5", "WEBSOCKET_MAX_MESSAGE": "100k"},
    }
    return module_engine.serve(app=folder, env=env, volumes=tls["volumes"])


def open_socket(container: Container, path: str = "/echo", **options: Any) -> ClientConnection:
    inside = options.pop("inside", 80)
    url = container.url(path, inside).replace("http", "ws")
    return connect(url, compression=None, ping_interval=None, proxy=None, **options)


def end_of(connection: ClientConnection, seconds: float = 5) -> int | None:
    """The code of the close frame; None if there was none."""
    try:
        while True:
            connection.recv(timeout=seconds)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def says(connection: ClientConnection, text: str) -> bool:
    connection.send(text)
    return connection.recv(timeout=5) == text


def refusal(container: Container, path: str = "/echo") -> tuple[int, str]:
    """Status and body of a handshake that does not succeed."""
    with pytest.raises(InvalidStatus) as refused, open_socket(container, path):
        pass
    response = refused.value.response
    return response.status_code, bytes(response.body or b"").decode()


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("uwsgi", ONE),
        ("gunicorn-gthread", ONE),
        ("gunicorn-gevent", GEVENT),
        *at_night(("uwsgi-gevent", GEVENT), ("gunicorn-sync", GEVENT), ("debug", {})),
    ],
)
def test_libraries_work_as_they_are(
    engine: Engine, folder: Path, name: str, env: dict[str, str]
) -> None:
    if name == "debug":
        check_libraries(engine.serve(DEBUG, app=folder), DEBUG_PORT)
        return
    container = engine.serve(server=SERVERS[name], app=folder, env=env)
    check_libraries(container)
    assert container.logs().count("Traceback") == 1, "of the view that fails"
    container.wait_for_log('"GET /once HTTP/1.1" 101 ')
    assert container.logs().count("GET /once") == 1
    # The last message of an idle client of a container that stops.
    with open_socket(container) as idle:
        assert says(idle, "hello")
        code, took = container.stop()
        assert end_of(idle) == 1001
    assert code == 0, container.logs()
    assert took < 4


def test_what_several_workers_do_not_share_is_said(engine: Engine, app_folder: Path) -> None:
    write_app(app_folder)
    file = app_folder / "app.py"
    file.write_text(f"{file.read_text()}\nimport os\napp.secret_key = os.urandom(24)\n")
    container = engine.serve(app=app_folder, env={"WEB_CONCURRENCY": "3"})
    log = container.wait_for_log("each worker has another secret key")
    assert log.count("each worker has another secret key") == 1
    assert log.count("set WEB_CONCURRENCY=1 THREADS=64") == 1


def check_libraries(container: Container, inside: int = 80) -> None:
    with open_socket(container, inside=inside) as echo:
        assert says(echo, "hello")
        assert says(echo, "x" * 70_000)
    with open_socket(container, "/once", inside=inside) as once:
        assert says(once, "hello")
        assert end_of(once) == 1000
    with open_socket(container, "/fails", inside=inside) as fails:
        assert end_of(fails) is None
    for transports in (["websocket"], ["polling", "websocket"]):
        client, said = socketio.Client(reconnection=False), list[str]()
        client.on("said", said.append)
        client.connect(container.url("/", inside), transports=transports, wait_timeout=5)
        wait_for(lambda: client.transport() == "websocket", 5, "the upgrade")  # noqa: B023
        client.emit("say", "hello")
        assert wait_for(lambda: said, 5, "the response") == ["hello"]  # noqa: B023
        client.disconnect()
    # Without an upgrade, and to a view that has none: what Flask says.
    assert container.get("/echo", inside).status_code == 400
    if inside == 80:
        assert refusal(container, "/")[0] == 400
        assert refusal(container, "/nowhere")[0] == 404


def test_over_https(container: Container) -> None:
    with open_socket(container, inside=443, ssl=harness.NO_TLS) as echo:
        assert says(echo, "hello")
        assert says(echo, "x" * 70_000)


def test_idle_sockets_take_no_thread_and_no_time_limit(container: Container) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(open_socket(container)) for _ in range(5)]
        status, text = refusal(container)
        assert (status, "too busy" in text) == (503, True), "nginx's own page"
        begun = time.monotonic()
        assert container.get("/").text == "hello", "the only thread is free"
        assert time.monotonic() - begun < 1
        time.sleep(3.5)  # longer than REQUEST_TIMEOUT, and than the watchdog waits
        assert all(says(each, "still here") for each in sockets)
    # A place is free again.
    wait_for(lambda: status_of_handshake(container) == 101, 5, "a free place")
    assert "replacing worker" not in container.logs()


def status_of_handshake(container: Container) -> int:
    try:
        with open_socket(container):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def test_a_message_that_is_too_large_closes_its_socket(container: Container) -> None:
    with open_socket(container) as good, open_socket(container) as bad:
        assert says(bad, "x" * 102_400)
        bad.send("x" * 102_401)
        assert end_of(bad) == 1009
        assert says(good, "hello")
    log = container.wait_for_log("set WEBSOCKET_MAX_MESSAGE for larger ones")
    assert "closed a WebSocket, because a message has more than 102,400 bytes" in log


def test_messages_that_a_view_does_not_receive_are_bounded(engine: Engine, folder: Path) -> None:
    container = engine.serve(app=folder, env={**ONE, "WEBSOCKET_MAX_MESSAGE": "100k"})
    with open_socket(container, "/late") as slow, open_socket(container, "/only-sends") as bad:
        for number in range(30):
            slow.send(f"{number:50000}")
        assert slow.recv(timeout=5) == "30", "the client waits, and nothing is lost"
        for _ in range(10):
            bad.send("x" * 50_000)
        assert end_of(bad, 20) == 1008
    container.wait_for_log("the view does not receive them")


def test_a_handshake_is_a_request_like_any_other_until_it_succeeds(container: Container) -> None:
    begun = time.monotonic()
    status, text = refusal(container, "/hangs")
    assert (status, text) == (504, "The application takes too long to respond.\n")
    assert 1.5 < time.monotonic() - begun < 4
    log = container.wait_for_log("a request took longer than REQUEST_TIMEOUT=2 seconds")
    assert "seconds: GET /hangs, request " in log
    assert "in app.py:62 in __call__; replacing worker" in log, "where the view was"
    assert container.wait_until_serving().text == "hello"


UPGRADE = "Upgrade: {0}\r\nConnection: Upgrade\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize(
    ("head", "headers", "status"),
    [
        # Another protocol, another method, a body, an upgrade that no Connection names.
        ("GET /upgrade HTTP/1.1", UPGRADE.format("h2c") + "HTTP2-Settings: AAMAAABk\r\n", 200),
        ("GET /upgrade HTTP/1.1", "Upgrade: websocket\r\n" + KEY, 200),
        ("GET /upgrade HTTP/1.0", UPGRADE.format("websocket") + KEY, 200),
        ("GET /echo HTTP/1.1", "Content-Length: 1\r\n" + UPGRADE.format("websocket") + KEY, 400),
        # Responses with 101 that are no WebSocket's.
        ("GET /switch HTTP/1.1", UPGRADE.format("h2c"), 500),
        ("GET /switch HTTP/1.1", UPGRADE.format("websocket") + KEY, 400),
    ],
)
def test_only_a_websocket_gets_a_tunnel(
    container: Container, head: str, headers: str, status: int
) -> None:
    body = "x" if "Content-Length: 1" in headers else ""
    request = f"{head}\r\nHost: here\r\n{headers}\r\n{body}GET /smuggled HTTP/1.1\r\n\r\n"
    received = raw_http.exchange(container.port(), request.encode(), end=False)
    first = re.match(rb"HTTP/1\.1 (\d+)", received)
    assert first
    assert int(first[1]) == status, received
    assert b" 101 " not in received
    assert status != 200 or b"\r\nnone" in received, "the application sees none"


@pytest.mark.timed
def test_sockets_stay_for_a_reload_and_leave_at_a_stop(engine: Engine, folder: Path) -> None:
    """50 clients over a reload and a stop: each connection ends with a close frame."""
    container = engine.serve(app=folder, env={"WEBSOCKET_RELOAD_TIMEOUT": "2"})
    with Talk(container, 50, pause=0.5) as talk:
        with open_socket(container) as first:
            time.sleep(1)
            container.reload()
            assert says(first, "to the old generation")
            assert end_of(first, 5) == 1001
        time.sleep(1)
        assert container.stop()[0] == 0, container.logs()
    counts = talk.counts
    assert counts["opened"] >= 100, counts
    assert (counts["cut"], counts["lost"]) == (0, 0), counts
    assert set(counts["closed"]) == {"1001"}, counts
    # On their way while the close frame was sent.
    assert counts["unanswered"] <= 10, counts


@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_the_wide_server_stays_until_its_last_socket_has_left(engine: Engine, folder: Path) -> None:
    container = engine.serve(app=folder, env={"WEBSOCKET_RELOAD_TIMEOUT": "1"})
    with ExitStack() as stack:

        def open_in_wide_server() -> ClientConnection:
            """While requests hold the narrow workers."""
            with Waiting(container, "/wait?s=4", 20):
                wait_for(lambda: len(container.pids("uWSGI worker")) >= 4, 10, "a wide server")
                connection = stack.enter_context(open_socket(container))
                assert says(connection, "hello")
            return connection

        first = open_in_wide_server()
        time.sleep(25)  # of which 20 would be enough
        assert says(first, "still here")
        assert "end after their last response" not in container.logs()
        first.close()
        container.wait_for_log("end after their last response", 5)
        wait_for(lambda: len(container.pids("uWSGI worker")) == 2, 10, "its end")
        second = open_in_wide_server()
        container.reload()
        assert end_of(second, 5) == 1001
        third = open_in_wide_server()
        container.docker.kill("TERM")
        assert end_of(third, 5) == 1001
    assert container.wait_for_exit() == 0


def test_a_worker_that_is_replaced_closes_its_sockets(engine: Engine, folder: Path) -> None:
    container = engine.serve(app=folder, env={"WEB_CONCURRENCY": "1", "MAX_REQUESTS": "10"})
    with open_socket(container) as first:
        assert says(first, "hello")
        for _ in range(20):
            container.get("/")
        assert end_of(first) == 1001
    # The next one has a new worker, or the worker after that.
    wait_for(lambda: status_of_handshake(container) == 101, 5, "a WebSocket of a new worker")
