"""Production: start, serve, stop, restart, and what happens when a child dies."""

from __future__ import annotations

import re
import secrets
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker.errors import APIError

from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    IMAGE,
    NO_TLS,
    ROOT,
    Container,
    Engine,
    wait_for,
)
from tests.support.marks import at_night
from tests.support.servers import SERVERS

START, STOP, GONE = 1.0, 1.5, 1.0  # seconds, as promised
SERVICE_USER = "33"  # www-data on Debian and Ubuntu
LISTENING = "0A"  # in /proc/net/tcp

HELLO = """
import os
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"

@app.get("/worker")
def worker():
    return str(os.getpid())

@app.post("/length")
def length():
    from flask import request
    return str(len(request.get_data()))
"""
SLOW_IMPORT = "import sys, time\nprint('importing', flush=True)\ntime.sleep({seconds})\n" + HELLO


def write(folder: Path, text: str = HELLO) -> Path:
    (folder / "app.py").write_text(text)
    return folder


@pytest.fixture
def serving(engine: Engine, app_folder: Path) -> Container:
    """A container that serves HELLO."""
    container = engine.run(app=write(app_folder))
    container.wait_until_serving()
    return container


def smoke(container: Container) -> None:
    """The image's own application answers: a page, its header, and one that is not there."""
    first = container.wait_until_serving()
    assert "<html" in first.text
    assert re.fullmatch("[0-9a-f]{32}", first.headers["X-Request-ID"])
    assert first.headers["Server"] == "nginx", "no version is told"
    assert container.get("/?name=Ada").status_code == 200
    assert container.get("/no-such-page").status_code == 404
    assert httpx.head(container.url(), timeout=10).status_code == 200


def processes(container: Container) -> list[list[str]]:
    """[uid, command line] of every process, as the engine sees it."""
    table = container.docker.top(ps_args="axno pid,uid,args")
    return [[row[1], row[2]] for row in table["Processes"]]


def find(container: Container, title: str) -> list[int]:
    """Processes whose command line begins like this, as the container numbers them."""
    program = (
        "import glob, sys\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try:\n"
        "        if open(path).read().startswith(sys.argv[1]): print(path.split('/')[2])\n"
        "    except OSError: pass\n"
    )
    code, out = container.execute("python3", "-c", program, title)
    assert code == 0, out
    return sorted(int(line) for line in out.split())


def kill(container: Container, name: str, pid: int) -> None:
    code, out = container.execute("bash", "-c", f"kill -{name} {pid}")
    assert code == 0, out


# --- serving ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_smoke_restart_smoke(engine: Engine) -> None:
    container = engine.run()
    smoke(container)
    container.docker.restart()
    smoke(container)
    log = container.logs()
    assert log.count("serving ") == 2, log


def test_stop_and_start_keep_the_mode(serving: Container) -> None:
    for _ in range(3):
        assert serving.stop()[0] == 0
        serving.docker.start()
        assert serving.wait_until_serving().headers["Server"] == "nginx"


@pytest.mark.nightly
def test_always_restarted_when_it_ends_but_not_when_it_is_stopped(
    engine: Engine, app_folder: Path
) -> None:
    container = engine.run(app=write(app_folder), restart_policy={"Name": "always"})
    container.wait_until_serving()
    kill(container, "TERM", 1)

    def restarted() -> bool:
        container.docker.reload()
        return container.docker.attrs["RestartCount"] == 1

    wait_for(restarted, 15, "the engine to restart the container")
    container.wait_until_serving()
    assert container.stop()[0] == 0
    time.sleep(0.5)
    assert not container.running()


def test_bodies_arrive_whole(serving: Container) -> None:
    for size in (0, 1, 65_536, 5_000_000):
        body = b"x" * size
        assert httpx.post(serving.url("/length"), content=body, timeout=20).text == str(size)


def test_who_runs_it(serving: Container) -> None:
    """Process 1 is Python, nothing is root, and only two ports can be reached."""
    assert serving.execute("cat", "/proc/1/comm")[1].startswith("python3")
    found = processes(serving)
    assert {uid for uid, _ in found} == {SERVICE_USER}, found
    for title in ("nginx: master", "nginx: worker", "uWSGI master", "uWSGI worker"):
        assert any(line.startswith(title) for _, line in found), found

    program = "print(open('/proc/net/tcp').read() + open('/proc/net/tcp6').read())"
    _, table = serving.execute("python3", "-c", program)
    rows = [line.split() for line in table.splitlines() if ":" in line]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}
    assert ports == {80, 9180}


@pytest.mark.parametrize("name", ["LISTEN_PORT", "PORT"])
def test_listen_port(engine: Engine, app_folder: Path, name: str) -> None:
    ports = {"8080/tcp": ("127.0.0.1", None)}
    container = engine.run(app=write(app_folder), env={name: "8080"}, ports=ports)
    assert container.wait_until_serving(inside=8080).text == "hello"


@pytest.mark.parametrize(
    "options",
    [
        {"user": "12345", "read_only": True},
        *at_night({"user": "12345"}, {"user": "12345:54321"}),
    ],
)
def test_any_user(engine: Engine, options: dict[str, Any]) -> None:
    container = engine.run(**options)
    smoke(container)
    assert {uid for uid, _ in processes(container)} == {"12345"}
    assert '"GET /no-such-page HTTP/1.1" 404' in container.wait_for_log("/no-such-page")
    assert container.execute("docker-flask", "health")[0] == 0
    code, took = container.stop()
    assert code == 0
    assert took <= STOP


@pytest.mark.timed
@pytest.mark.parametrize(
    "options",
    [
        {"cap_drop": ["CHOWN"]},
        {"cap_drop": ["ALL"], "env": {"RUN_AS_ROOT": "1"}},
    ],
    ids=["no chown", "nothing"],
)
def test_root_without_privileges(engine: Engine, options: dict[str, Any]) -> None:
    """nginx tries neither to become another user nor to change owners."""
    container = engine.run(**options)
    smoke(container)
    assert '"GET /no-such-page HTTP/1.1" 404' in container.wait_for_log("/no-such-page")
    assert container.execute("docker-flask", "reload")[0] == 0
    assert container.execute("docker-flask", "health")[0] == 0
    assert "[emerg]" not in container.logs()
    code, took = container.stop()
    assert code == 0
    assert took <= STOP


def test_without_privileges_in_debug_mode(engine: Engine) -> None:
    container = engine.run(DEBUG, cap_drop=["ALL"], user="12345")
    container.wait_until_serving(inside=DEBUG_PORT)
    assert container.stop()[0] == 0


def test_health(engine: Engine, app_folder: Path) -> None:
    quick = {"interval": 500_000_000, "timeout": 5_000_000_000}  # ns; the test is the image's own
    container = engine.run(
        app=write(app_folder, SLOW_IMPORT.format(seconds=2)), healthcheck={**quick}
    )
    container.wait_for_log("importing")
    code, out = container.execute("docker-flask", "health")
    assert code == 1
    assert len(out.splitlines()) == 1, out
    container.wait_until_serving()
    assert container.execute("docker-flask", "health") == (0, "")

    def healthy() -> bool:
        container.docker.reload()
        return container.docker.attrs["State"]["Health"]["Status"] == "healthy"

    wait_for(healthy, 10, "the container to be healthy")


# --- the log ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_access_log(serving: Container) -> None:
    answer = serving.get("/?one=1", headers={"User-Agent": "a test"})
    log = serving.wait_for_log("/?one=1")
    line = next(line for line in log.splitlines() if "/?one=1" in line)
    assert '"GET /?one=1 HTTP/1.1" 200 5 ' in line
    assert '"a test"' in line
    assert answer.headers["X-Request-ID"] in line


def test_access_log_off(engine: Engine, app_folder: Path) -> None:
    container = engine.run(app=write(app_folder), env={"ACCESS_LOG": "0"})
    container.wait_until_serving()
    container.get("/?one=1")
    container.stop()
    assert "GET" not in container.logs()


def test_the_log_of_a_quiet_life_has_no_complaint(serving: Container) -> None:
    serving.stop()
    odd = re.compile(r"warn|error|\[emerg\]|!!!|traceback|\*\*\*.*WARN", re.IGNORECASE)
    assert [line for line in serving.logs().splitlines() if odd.search(line)] == []


# --- start -----------------------------------------------------------------------------------


@pytest.mark.alone
def test_start_to_first_answer(engine: Engine) -> None:
    times = []
    for _ in range(5):
        begun = time.monotonic()
        container = engine.run()
        url = container.url()
        while True:
            assert time.monotonic() - begun < 15
            with suppress(httpx.TransportError):
                assert httpx.get(url, timeout=10, verify=NO_TLS).status_code == 200
                break
            time.sleep(0.005)
        times.append(time.monotonic() - begun)
        container.docker.remove(force=True, v=True)
    print("docker run to first 200:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= START


def listens(container: Container, port: int = 80) -> Callable[[], bool]:
    program = (
        "import sys\n"
        "rows = [line.split() for line in open('/proc/net/tcp')]\n"
        f"sys.exit(not any(r[1].endswith(':{port:04X}') and r[3] == '0A' for r in rows))\n"
    )
    return lambda: container.execute("python3", "-c", program)[0] == 0


@pytest.mark.timed
def test_an_early_client_waits_and_is_not_refused(engine: Engine, app_folder: Path) -> None:
    container = engine.run(app=write(app_folder, SLOW_IMPORT.format(seconds=2)))
    wait_for(listens(container), 2, "the port to be bound")
    assert "docker-flask: serving" not in container.logs(), "too late for this test"
    assert container.get().text == "hello"


def statuses(container: Container, until: int, seconds: float) -> Iterator[int]:
    """Statuses of one request after the other, until one is `until`."""
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline, container.logs()
        answer = container.get()
        yield answer.status_code
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
        if answer.status_code == until:
            return
        time.sleep(0.02)


@pytest.mark.timed
def test_a_long_start_is_503_and_then_200(engine: Engine, app_folder: Path) -> None:
    container = engine.run(app=write(app_folder, SLOW_IMPORT.format(seconds=6)))
    begun = time.monotonic()
    wait_for(listens(container), 2, "the port to be bound")
    first = next(statuses(container, 503, 10))
    assert first == 503
    assert time.monotonic() - begun < 5, "a client is told after a few seconds"
    seen = list(statuses(container, 200, 15))
    assert set(seen) == {503, 200}
    # Nobody is sent back to the answer of the start.
    assert {container.get().status_code for _ in range(50)} == {200}


# --- make up -------------------------------------------------------------------------------


def test_make_up_names_a_port_that_is_taken(engine: Engine) -> None:
    name = f"docker-flask-test-{secrets.token_hex(4)}"
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        result = subprocess.run(
            [ROOT / "tools/up", IMAGE, name, str(port)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (result.returncode, result.stdout) == (1, "")
    words = f"port {port} is taken; choose another: make up PORT={port + 1}"
    assert result.stderr == f"docker-flask: {words}\n"
    assert not engine.client.containers.list(all=True, filters={"name": name})
    engine.client.volumes.get(f"{name}-data").remove()


# --- stop ------------------------------------------------------------------------------------


@pytest.mark.alone
def test_idle_stop(serving: Container) -> None:
    times = []
    for _ in range(3):
        code, took = serving.stop()
        assert code == 0
        times.append(took)
        serving.docker.start()
        serving.wait_until_serving()
    print("idle stop:", " ".join(f"{took:.2f}" for took in times), "s")
    assert max(times) <= STOP
    assert "stopped; every request was answered" in serving.logs()


@pytest.mark.timed
@pytest.mark.parametrize("milliseconds", [20, 30, 50, 80, 120, 200, 300])
def test_term_right_after_the_start(engine: Engine, app_folder: Path, milliseconds: int) -> None:
    container = engine.run(app=write(app_folder))
    time.sleep(milliseconds / 1000)
    begun = time.monotonic()
    container.docker.kill("TERM")
    code = container.docker.wait(timeout=20)["StatusCode"]
    took = time.monotonic() - begun
    assert took <= 2 * GONE, container.logs()
    assert code in (0, 143), "ended by TERM, not by force"


@pytest.mark.timed
@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10])
def test_term_in_the_first_instant(engine: Engine, app_folder: Path, milliseconds: int) -> None:
    """The kernel drops what is sent to a process 1 that has no handler yet; a second TERM helps."""
    container = engine.run(app=write(app_folder))
    time.sleep(milliseconds / 1000)
    begun = time.monotonic()

    def gone() -> bool:
        with suppress(APIError):  # it has ended meanwhile
            if "stopping" not in container.logs():
                container.docker.kill("TERM")
        return not container.running()

    wait_for(gone, 3 * GONE, "the container to end", every=0.2)
    print(f"gone after {time.monotonic() - begun:.2f} s")
    # 75: a second TERM came before the container had noted the first one.
    assert container.wait_for_exit() in (0, 75, 143), "ended by TERM, not by force"


@pytest.mark.timed
def test_stop_during_a_long_import(engine: Engine, app_folder: Path) -> None:
    container = engine.run(app=write(app_folder, SLOW_IMPORT.format(seconds=60)))
    container.wait_for_log("importing")
    code, took = container.stop()
    assert code == 0
    assert took <= GONE


@pytest.mark.timed
def test_stop_during_prestart(engine: Engine, app_folder: Path) -> None:
    (app_folder / "prestart.sh").write_text("echo preparing\nsleep 60\n")
    container = engine.run(app=write(app_folder))
    container.wait_for_log("preparing")
    code, took = container.stop()
    assert code == 0
    assert took <= GONE


# --- a child died ----------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("nginx: master", r"nginx \(pid {pid}\) was killed by SIGKILL"),
        ("nginx: worker", r"{pid}.*signal 9"),
        ("uWSGI master", r"uWSGI \(pid {pid}\) was killed by SIGKILL"),
        ("uWSGI worker", r"pid: {pid}\).*signal 9"),
    ],
)
def test_a_child_is_killed(serving: Container, title: str, words: str) -> None:
    victims = find(serving, title)
    assert victims
    kill(serving, "KILL", victims[0])
    killed = time.monotonic()

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return serving.get(timeout=1).status_code == 200
        return False

    wait_for(answers, 1, "an answer", every=0.01)
    assert time.monotonic() - killed <= 1
    assert {serving.get().status_code for _ in range(50)} == {200}

    pattern = re.compile(words.format(pid=victims[0]))
    wait_for(lambda: pattern.search(serving.logs()), 5, f"{pattern.pattern!r} in the log")
    wait_for(
        lambda: len(set(find(serving, title)) - {victims[0]}) >= len(victims),
        5,
        f"another {title}",
    )
    assert serving.execute("docker-flask", "health")[0] == 0
    code, took = serving.stop()
    assert code == 0
    assert took <= STOP


def test_a_child_that_dies_again_and_again_ends_the_container(serving: Container) -> None:
    for _ in range(20):
        try:
            kill(serving, "KILL", find(serving, "nginx: master")[0])
        except (APIError, AssertionError, IndexError):
            if not serving.running():
                break
    assert serving.wait_for_exit(5) == 70
    last = serving.logs().splitlines()[-1]
    assert "nginx" in last
    assert "SIGKILL" in last


# --- the first start ---------------------------------------------------------------------------

# As applications create their tables: what is not there is created, by each worker that looks.
CREATES = """
import time
from pathlib import Path
from flask import Flask

print("begins to load")
app = Flask(__name__)
table = Path("/data/table")
if not table.exists():
    time.sleep(0.5)
    table.mkdir()
print("has its table")

@app.get("/")
def hello():
    return "hello"
"""


@pytest.mark.parametrize("name", ["uwsgi", *at_night("gunicorn-gthread")])
def test_one_worker_loads_before_the_others(engine: Engine, app_folder: Path, name: str) -> None:
    (app_folder / "app.py").write_text(CREATES)
    env = {"WEB_CONCURRENCY": "4", "UWSGI_CHEAPER": "0"}
    container = engine.run(server=SERVERS[name], app=app_folder, env=env)
    container.wait_until_serving()
    wait_for(lambda: container.logs().count("has its table") == 4, 10, "four workers")
    assert container.logs().count("begins to load") == 4, "none has failed and begun again"
