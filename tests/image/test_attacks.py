"""Attacks by bytes: malformed requests, malformed answers of the application, forged headers.

`make test` tries the default server with few cases; `make test-all` all servers, with all cases.
"""

from __future__ import annotations

import secrets
import socket

import pytest

from tests.support import malformed, raw_http
from tests.support.harness import APPS, Container, Engine
from tests.support.servers import SERVERS

pytestmark = pytest.mark.timeout(600)
EVERY = [
    name if name == "uwsgi" else pytest.param(name, marks=pytest.mark.nightly) for name in SERVERS
]
REASON = "a reason for the log"


@pytest.fixture(scope="module", params=EVERY)
def target(module_engine: Engine, request: pytest.FixtureRequest) -> Container:
    """A container with the application of this module."""
    env = {"APP_MODULE": "app:application", "FLASK_DEBUG": "1"}
    container = module_engine.run(server=SERVERS[request.param], app=APPS / "attacked", env=env)
    container.wait_until_serving("/answers")
    return container


def check_good_client(target: Container) -> None:
    """A client on another connection gets the answer to its own request."""
    token = secrets.token_hex(8)
    answer = target.get(f"/echo?{token}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["environ"]["QUERY_STRING"] == token


# --- the application's answers -----------------------------------------------------------------


def test_malformed_answers(target: Container) -> None:
    """Each is a 5xx, or the client can read it in one way only, and the next one as well."""
    names = target.get("/answers").json()
    assert len(names) > 80
    port = target.port()
    assert target.get(f"/answer?{names.index('header Server own')}").text == "text"
    wrong = []
    for number, name in enumerate(names):
        token = secrets.token_hex(8)
        data = raw_http.exchange(
            port,
            f"GET /answer?{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"GET /echo?{token} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(),
            end=False,
        )
        try:
            first, *others = raw_http.answers(data)
        except (ValueError, raw_http.Ambiguous) as error:
            wrong.append(f"{name}: {error}")
            continue
        injected = first.values("X-Injected") or b"X-Injected" in first.body
        leaked = any(text in first.body for text in (REASON.encode(), b"Traceback", b"root:"))
        if injected or leaked:
            wrong.append(f"{name}: {first}")
        if name.startswith("written") and first.body != b"written text":
            wrong.append(f"{name}: {first}")
        if others and (len(others) > 1 or token.encode() not in others[0].body):
            wrong.append(f"{name}: the next answer is {others}")
        if not others and first.complete and not first.status >= 500:
            wrong.append(f"{name}: no next answer after {first}")
    assert not wrong, "\n".join(wrong)
    check_good_client(target)


def test_the_log_says_what_was_wrong(target: Container) -> None:
    number = target.get("/answers").json().index("status '200 OK\\r\\nX-Injected: 1'")
    answer = target.get(f"/answer?{number}")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error\n")
    log = target.wait_for_log("ValueError: status '200 OK\\r\\nX-Injected: 1'")
    assert "Traceback (most recent call last)" in log


# --- debuggers ---------------------------------------------------------------------------------


def test_no_debugger(target: Container) -> None:
    """Neither the one that the application brings nor a traceback reaches a client.

    Nor does anything listen that `app.run(debug=True)` or the application server would open.
    """
    assert target.listening() == {80, 9180}
    assert target.get("/echo").json()["debug"] == [False, False]
    for path in (
        "/console",
        "/?__debugger__=yes&cmd=resource&f=debugger.js",
        "/fail",
        "/key",
        "/fail?__debugger__=yes&cmd=printpin&s=1",
    ):
        answer = target.get(path)
        assert answer.status_code in (400, 404, 500), path
        for text in ("Traceback", "debugger", "console", "no such key", REASON):
            assert text not in answer.text, (path, answer.text)
    log = target.wait_for_log(REASON)
    for line in (
        "Werkzeug's debugger (DebuggedApplication) is ignored in production: use -d debug",
        "app.debug is ignored in production: use -d debug",
        "FLASK_DEBUG='1' is ignored in production",
    ):
        assert log.count(line) == 1, log


# --- malformed requests ------------------------------------------------------------------------

SHAPES = [
    pytest.param(malformed.FEW, id="few"),
    pytest.param(tuple(malformed.EVERY), id="every", marks=pytest.mark.nightly),
]


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def talk(port: int, request: bytes, token: str) -> tuple[bytes, bool]:
    """What a malformed request gets, and whether the server closed the connection.

    If the connection stays open, a good request follows: its answer must be its own.
    """
    last = f"GET /echo?{token}-last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as client:
        for part in (request, last):
            try:
                client.sendall(part)
                while block := client.recv(1 << 16):
                    received += block
                return received, True
            except TimeoutError:
                continue
            except ConnectionError:
                return received, True
    return received, False


@pytest.mark.parametrize("names", SHAPES)
def test_malformed_requests(target: Container, names: tuple[str, ...]) -> None:
    """The application sees what nginx answers, and nothing of what has two meanings."""
    wrong, port = [], target.port()
    for name in names:
        token = secrets.token_hex(8)
        request = malformed.EVERY[name].replace(b"TOKEN", token.encode())
        data, closed = talk(port, request, token)
        method = request.split(b" ")[0].decode("latin-1")
        if name == "0.9":  # which has no headers
            data = b"HTTP/1.0 200 OK\r\n\r\n" + data
        try:
            found = [*raw_http.answers(data.removeprefix(CONTINUE), method)]
        except (ValueError, raw_http.Ambiguous) as error:
            wrong.append(f"{name}: {error}")
            continue
        seen = target.get("/seen", params={"of": token}).json()
        echoed = [
            f"{answer.json['environ']['QUERY_STRING']} {len(answer.json['body'])}"
            for answer in found
            if answer.status == 200 and answer.body
        ]
        good = [line for line in seen if not (method == "HEAD" and line == seen[0])]
        if echoed != good:
            wrong.append(f"{name}: seen {seen}, answered {echoed}: {data[:300]!r}")
        refused = [answer.status >= 400 for answer in found] in ([True], [])
        if name in malformed.REFUSED and (seen or not closed or not refused):
            wrong.append(f"{name}: closed {closed}, seen {seen}: {data[:300]!r}")
    assert not wrong, "\n".join(wrong)
    check_good_client(target)
