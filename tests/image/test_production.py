"""Production: start, serve, stop, restart, and what happens when a child dies."""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker.errors import APIError

from tests.support.harness import (
    APPS,
    DEBUG,
    NO_TLS,
    REQUEST_ID,
    Container,
    Engine,
    assert_within,
    mounted,
    wait_for,
)
from tests.support.marks import at_night
from tests.support.servers import SERVERS

START, STOP, GONE = 1.0, 1.5, 1.0  # seconds, as promised
SERVICE_USER = "33"  # www-data on Debian and Ubuntu
HELLO = APPS / "hello"


@pytest.fixture
def serving(engine: Engine) -> Container:
    """A container that serves a small application."""
    return engine.serve(app=HELLO)


def smoke(container: Container) -> None:
    """The image's own application answers: a page, its header, and one that is not there."""
    first = container.wait_until_serving()
    assert "<html" in first.text
    assert re.fullmatch(REQUEST_ID, first.headers["X-Request-ID"])
    assert first.headers["Server"] == "nginx", "no version is told"
    assert container.get("/?name=Ada").status_code == 200
    assert container.get("/no-such-page").status_code == 404
    assert httpx.head(container.url(), timeout=10).status_code == 200


# --- serving ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_smoke_restart_smoke(engine: Engine) -> None:
    container = engine.run()
    smoke(container)
    container.reload()
    container.docker.restart()
    smoke(container)
    log = container.logs()
    assert log.count("docker-flask: serving ") == 3, log


def test_who_runs_it(serving: Container) -> None:
    """Process 1 is Python, nothing is root, and only two ports can be reached."""
    assert serving.execute("cat", "/proc/1/comm")[1].startswith("python3")
    found = serving.processes()
    assert serving.users() == {SERVICE_USER}, found
    for title in ("nginx: master", "nginx: worker", "uWSGI master", "uWSGI worker"):
        assert serving.pids(title), found
    assert serving.listening() == {80, 9180}
    python = serving.shell("python3 -c 'import os; print(os.readlink(\"/proc/self/exe\"))'")
    for pid in serving.pids("uWSGI master"):
        found_program = serving.execute("readlink", f"/proc/{pid}/exe", user="www-data")
        assert found_program == (0, python), "uWSGI runs in the interpreter of python3"


@pytest.mark.parametrize("disabled", ["1", *at_night("0")])
@pytest.mark.parametrize("command", [[], DEBUG], ids=["production", "debug"])
def test_health_with_and_without_ipv6(engine: Engine, command: list[str], disabled: str) -> None:
    container = engine.serve(command, sysctls={"net.ipv6.conf.all.disable_ipv6": disabled})
    assert container.execute("docker-flask", "health") == (0, "")


# --- the log ---------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("access_log", ["1", "0"])
def test_the_log_of_a_quiet_life_has_no_complaint(engine: Engine, access_log: str) -> None:
    container = engine.serve(app=HELLO, env={"ACCESS_LOG": access_log})
    answer = container.get("/?one=1", headers={"User-Agent": "a test"})
    container.stop()
    log = container.logs()
    odd = re.compile(r"warn|error|\[emerg\]|!!!|traceback|\*\*\*.*WARN", re.IGNORECASE)
    assert [line for line in log.splitlines() if odd.search(line)] == []
    lines = [line for line in log.splitlines() if '"GET /?one=1 HTTP/1.1" 200 5 ' in line]
    assert len(lines) == int(access_log)
    for line in lines:
        assert '"a test"' in line
        assert answer.headers["X-Request-ID"] in line


# --- start -----------------------------------------------------------------------------------


@pytest.mark.alone
def test_start_to_first_answer_and_idle_stop(engine: Engine) -> None:
    times, stops = [], []
    for _ in range(3):
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
        code, took = container.stop()
        assert code == 0
        stops.append(took)
    assert "stopped; every request was answered" in container.logs()
    for what, found in (("docker run to first 200", times), ("idle stop", stops)):
        print(f"{what}:", " ".join(f"{took:.2f}" for took in sorted(found)), "s")
    assert statistics.median(times) <= START
    assert max(stops) <= STOP
    container.docker.start()
    assert container.wait_until_serving().headers["Server"] == "nginx", "the same mode"


@pytest.mark.timed
@pytest.mark.parametrize(("seconds", "expected"), [("1", {200}), ("6", {503, 200})])
def test_early_clients_wait_or_are_told_to_wait(
    engine: Engine, seconds: str, expected: set[int]
) -> None:
    """None is refused once process 1 listens: before, the kernel refuses."""
    container = engine.run(app=HELLO, env={"LOAD_SECONDS": seconds})
    wait_for(lambda: 80 in container.listening(), 2, "the port to be bound", every=0.01)
    seen = []
    while 200 not in seen:
        answer = container.get(timeout=8)
        seen.append(answer.status_code)
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
            assert "The application is starting. This page loads itself again." in answer.text
        assert len(seen) < 1000
        time.sleep(0.02)
    assert set(seen) == expected
    # Nobody is sent back to the answer of the start.
    assert {container.get().status_code for _ in range(50)} == {200}


# As applications create their tables: what is not there is created, by each worker that checks.
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
app.add_url_rule("/", "hello", lambda: "hello")
"""


@pytest.mark.parametrize("name", ["uwsgi", *at_night("gunicorn-gthread")])
def test_one_worker_loads_before_the_others(engine: Engine, app_folder: Path, name: str) -> None:
    (app_folder / "app.py").write_text(CREATES)
    env = {"WEB_CONCURRENCY": "4", "THREADS": "1"}
    container = engine.serve(server=SERVERS[name], app=app_folder, env=env)
    wait_for(lambda: container.logs().count("has its table") == 4, 10, "four workers")
    assert container.logs().count("begins to load") == 4, "none has failed and begun again"


# --- stop ------------------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.parametrize("milliseconds", [0, 20, 120, 300])
def test_term_soon_after_the_start(engine: Engine, milliseconds: int) -> None:
    """The kernel drops what is sent to a process 1 that has no handler yet; a second TERM helps."""
    container = engine.run(app=HELLO)
    time.sleep(milliseconds / 1000)

    def gone() -> bool:
        with suppress(APIError):  # it has ended meanwhile
            if "stopping" not in container.logs():
                container.docker.kill("TERM")
        return not container.running()

    wait_for(gone, 3 * GONE, "the container to end", every=0.2)
    # 75: a second TERM came before the container had noted the first one.
    assert container.wait_for_exit() in (0, 75, 143), "ended by TERM, not by force"


@pytest.mark.timed
@pytest.mark.parametrize("command", [[], DEBUG], ids=["production", "debug"])
@pytest.mark.parametrize("during", ["app.py", "prestart.sh"])
def test_stop_during_a_start(
    engine: Engine, app_folder: Path, during: str, command: list[str]
) -> None:
    texts = {
        "app.py": "import time\nprint('begun', flush=True)\ntime.sleep(60)\n",
        "prestart.sh": "echo begun\nsleep 60\n",
    }
    (app_folder / during).write_text(texts[during])
    container = engine.run(command, app=app_folder)
    container.wait_for_log("begun")
    code, took = container.stop()
    assert code == 0
    assert took <= (2 * GONE if command else GONE)


# A server of names that answers nobody: a look-up takes 10 seconds.
SILENT_NAMES = """python3 -c "
import socket, time
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(('127.0.0.1', 53))
time.sleep(60)
" &
"""


@pytest.mark.timed
def test_nginx_that_looks_up_a_host_stops_nobody(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "prestart.sh").write_text(SILENT_NAMES)
    (tmp_path / "app.py").write_text((HELLO / "app.py").read_text())
    snippets = tmp_path / "server.d"
    snippets.mkdir()
    volumes = {str(tmp_path / name): {"bind": f"/app/{name}"} for name in ("app.py", "prestart.sh")}
    volumes[str(snippets)] = {"bind": "/etc/nginx/server.d"}
    options: dict[str, Any] = {"volumes": volumes, "dns": ["127.0.0.1"]}
    container = engine.serve(**options)
    container.docker.reload()
    snippet = "location /other/ { proxy_pass http://other.example:81; }"
    (snippets / "other.conf").write_text(snippet)
    late = engine.run(env={"START_TIMEOUT": "2"}, **options)
    container.docker.kill("HUP")
    wait_for(lambda: container.pids("/usr/sbin/nginx"), 20, "nginx's test")
    begun = time.monotonic()
    assert status_of(container, "/ready", 200, 1) == "ok\n"
    assert_within(1, time.monotonic() - begun)
    assert container.get().status_code == 200
    code, took = container.stop()
    assert code == 0
    assert_within(5, took)
    assert late.wait_for_exit() == 78
    last = late.logs().splitlines()[-1]
    assert "nginx did not test its configuration within START_TIMEOUT=2 seconds" in last


@pytest.mark.parametrize("room", ["size=4k", "size=12k", "nr_inodes=4", "nr_inodes=12"])
def test_a_full_disk_at_the_start_is_one_line(engine: Engine, room: str) -> None:
    folder = {"/run/docker-flask": f"{room},uid=33,gid=33,mode=700"}
    code, _, err = engine.run(app=HELLO, tmpfs=folder).finish()
    assert code == 70
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("docker-flask: the container can't run: [Errno 28] ")


# --- a child died ----------------------------------------------------------------------------


@pytest.mark.nightly  # the pauses before the restarts: test_restarts.py
def test_a_child_that_dies_again_and_again_ends_the_container(serving: Container) -> None:
    def kill() -> bool:
        with suppress(APIError, AssertionError, IndexError):  # in a pause, or ended
            serving.kill("KILL", serving.pids("nginx: master")[0])
        return not serving.running()

    wait_for(kill, 40, "the container to end")
    assert serving.wait_for_exit(5) == 70
    last = serving.logs().splitlines()[-1]
    assert "nginx" in last
    assert "SIGKILL" in last
    assert "6 times within a minute" in last


# Takes each process that is free, for some seconds, and kills a process of nginx at their begin.
TAKE_PROCESSES = """
import os, signal, sys, time
end, victim = time.monotonic() + 5, int(sys.argv[1])
while (left := end - time.monotonic()) > 0:
    try:
        if not os.fork():
            time.sleep(left)
            os._exit(0)
    except OSError:
        if victim:
            os.kill(victim, signal.SIGKILL)
            victim = 0
"""


def test_nginx_gets_its_workers_back_after_too_few_processes(engine: Engine) -> None:
    container = engine.serve(app=HELLO, pids_limit=40)
    container.docker.reload()
    (worker,) = container.pids("nginx: worker")
    container.docker.exec_run(["python3", "-c", TAKE_PROCESSES, str(worker)], detach=True)
    statuses = {path: status_of(container, path, 503, 5) for path in ("/ready", "/healthy")}
    assert statuses["/ready"] in ("nginx has no worker process\n", "nginx has ended\n")
    assert statuses["/healthy"] == statuses["/ready"]
    assert status_of(container, "/ready", 200, 20) == "ok\n"
    assert container.get().status_code == 200
    assert container.execute("docker-flask", "health") == (0, "")


def test_restarts_of_nginx_pause_and_lose_no_request(engine: Engine, tmp_path: Path) -> None:
    snippet = "location /other/ { proxy_pass http://other.example:81; }"
    volumes = mounted(tmp_path, {"/etc/nginx/server.d/other.conf": snippet})
    container = engine.serve(
        app=HELLO, volumes=volumes, extra_hosts={"other.example": "127.0.0.1"}, dns=["127.0.0.1"]
    )
    container.docker.reload()
    hosts = "/etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts"
    container.shell(f"sed s/other.example/away.example/ {hosts}")
    container.kill("KILL", *container.pids("nginx: master"))
    container.wait_for_log("exited with code 1; restarting nginx after a pause of 2 seconds")
    with ThreadPoolExecutor(1) as other:
        begun = other.submit(container.get)
        assert status_of(container, "/ready", 503, 1) == "nginx has ended\n"
        container.shell(f"sed s/away.example/other.example/ {hosts}")
        assert begun.result().status_code == 200
    assert status_of(container, "/ready", 200, 5) == "ok\n"
    container.kill("KILL", *container.pids("nginx: master"))
    container.wait_for_log("restarting nginx after a pause of 4 seconds")
    code, took = container.stop()
    assert code == 0
    assert took <= STOP


def status_of(container: Container, path: str, status: int, seconds: float) -> str:
    """What the status port says, once it has this status."""
    networks = container.docker.attrs["NetworkSettings"]["Networks"].values()
    url = f"http://{next(each['IPAddress'] for each in networks)}:9180{path}"

    def look() -> str | None:
        answer = httpx.get(url, timeout=5)
        return answer.text if answer.status_code == status else None

    return wait_for(look, seconds, f"{status} of {path}")
