"""What orchestrators ask: the status port, HEALTH_PATH, and a port that opens when it is ready."""

from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import pytest

from tests.support.harness import APPS, DEBUG, PRODUCTION_PORT, Container, Engine, wait_for
from tests.support.marks import at_night

STATUS = 9180
UP = {"HEALTH_PATH": "/up"}


def address(container: Container) -> str:
    """In the engine's network, without the engine's proxy, which accepts every connection."""
    networks = container.docker.attrs["NetworkSettings"]["Networks"].values()
    return str(next(network["IPAddress"] for network in networks))


def ask(container: Container, path: str, port: int = STATUS) -> tuple[int, str]:
    """Status and text; status 0 where the connection is refused."""
    try:
        answer = httpx.get(f"http://{address(container)}:{port}{path}", timeout=5)
    except httpx.ConnectError:
        return 0, ""
    return answer.status_code, answer.text


def begin(engine: Engine, seconds: float, **options: Any) -> Container:
    """An application that loads for some seconds."""
    env = {"LOAD_SECONDS": str(seconds), **options.pop("env", {})}
    container = engine.run(app=APPS / "hello", env=env, **options)
    container.docker.reload()
    return container


@pytest.fixture(scope="module")
def container(module_engine: Engine) -> Container:
    container = module_engine.serve(env=UP)
    container.docker.reload()
    return container


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthy HTTP/1.1", 200),
        ("GET /ready?verbose=1 HTTP/1.1", 200),
        ("GET /other HTTP/1.1", 404),
        ("POST /ready HTTP/1.1", 405),
        ("hello", 405),
        ("x" * 5000, 405),
    ],
)
def test_the_status_port_answers_two_questions(
    container: Container, request_line: str, status: int
) -> None:
    with socket.create_connection((address(container), STATUS), timeout=5) as client:
        client.sendall(f"{request_line}\r\n\r\n".encode())
        assert client.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_the_health_path_is_answered_for_any_host_and_never_logged(container: Container) -> None:
    for method, status in (("GET", 200), ("HEAD", 200)):
        for host in ("localhost", "10.0.0.7:80", "any.example"):
            answer = httpx.request(method, container.url("/up"), headers={"Host": host})
            assert answer.status_code == status
    container.get("/mark")
    assert "/up" not in container.wait_for_log("GET /mark")


def test_ready_after_the_start_and_until_the_stop(engine: Engine) -> None:
    container = begin(engine, 5, env=UP)
    wait_for(lambda: ask(container, "/ready")[0] == 503, 3, "the status port")
    assert ask(container, "/healthy") == (200, "ok\n")
    assert ask(container, "/ready") == (503, "the container is starting\n")
    code, out = container.execute("docker-flask", "health")
    assert (code, out.count("\n")) == (1, 1), out
    container.wait_for_log("clients get 503")
    wait_for(lambda: ask(container, "/up", PRODUCTION_PORT)[0] == 503, 2, "nginx")
    container.wait_until_serving()
    assert ask(container, "/ready") == (200, "ok\n")
    assert container.execute("docker-flask", "health") == (0, "")
    assert ask(container, "/up", PRODUCTION_PORT) == (200, "ok\n")
    with socket.create_connection((address(container), PRODUCTION_PORT)) as client:
        client.sendall(b"GET /sleep?s=3 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        container.docker.kill("TERM")
        wait_for(lambda: ask(container, "/ready")[0] == 503, 2, "the stop")
        assert ask(container, "/ready") == (503, "the container is stopping\n")
        assert ask(container, "/healthy") == (200, "ok\n")
        assert b" 200 OK" in client.recv(100)
    assert container.wait_for_exit() == 0


def test_the_port_opens_when_the_application_is_ready(engine: Engine) -> None:
    container = begin(engine, 2, env={"BIND_WHEN_READY": "1"})
    statuses = []

    def look() -> bool:
        statuses.append(ask(container, "/", PRODUCTION_PORT)[0])
        return statuses[-1] == 200

    wait_for(look, 10, "the first answer")
    assert set(statuses) == {0, 200}


def test_a_status_port_that_is_taken_costs_nothing(engine: Engine, container: Container) -> None:
    """Containers of a pod share their network; only a port that the user has set must be free."""
    network = {"network_mode": f"container:{container.docker.id}", "ports": {}}
    second = begin(engine, 0, env={"LISTEN_PORT": "8080"}, **network)
    second.wait_for_log("on port 8080")
    assert "can't listen on STATUS_PORT=9180: Address already in use" in second.logs()
    chosen = {"LISTEN_PORT": "8081", "STATUS_PORT": str(STATUS)}
    third = begin(engine, 0, env=chosen, **network)
    assert third.wait_for_exit() == 78
    assert "use a free port" in third.logs().splitlines()[-1]


@pytest.mark.alone
@pytest.mark.parametrize("command", [[], *at_night(DEBUG, ["run", "sleep", "60"])])
def test_the_health_check_tells_at_once_and_then_rarely(engine: Engine, command: list[str]) -> None:
    begun = time.monotonic()
    container = engine.run(command, healthcheck={})
    container.wait_until_healthy(15)
    assert time.monotonic() - begun <= 3
    # The next check waits, and neither the stop nor anything else waits for it.
    wait_for(
        lambda: any(line == "sleep 29" for _, line in container.processes()), 20, "the next check"
    )
    assert container.stop()[1] < 2
