"""What the container says of its workers: ready, unable to load, and how many the memory holds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.harness import Container, Engine, assert_within, wait_for, write_files
from tests.support.servers import SERVERS

STATUS_PORT = 9180
PORTS = {"80/tcp": ("127.0.0.1", None), f"{STATUS_PORT}/tcp": ("127.0.0.1", None)}
# Loads at once, or as slowly as a file says.
SLOW = """
import time
from pathlib import Path
from flask import Flask
app = Flask(__name__)
pause = Path("/data/pause")
if pause.exists():
    time.sleep(float(pause.read_text()))

@app.route("/")
def page():
    return "hello"
"""
# As many workers load as there are files: one for each connection that a database accepts.
CONNECTIONS = """
import fcntl
from pathlib import Path
from flask import Flask
app = Flask(__name__)
for number in range(int(Path("/app/most").read_text())):
    connection = open(f"/tmp/connection{number}", "w")
    try:
        fcntl.flock(connection, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        pass
else:
    raise RuntimeError("too many connections")

@app.route("/")
def page():
    return "hello"
"""
# Is killed once while it loads, as by the kernel when memory runs out. Its child process lives on.
FORKS = """
import os, time
from pathlib import Path
from flask import Flask
app = Flask(__name__)
if Path("/data/die").exists():
    os.remove("/data/die")
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), 9)

@app.route("/")
def page():
    return "hello"
"""
MODEL = """
import time
from flask import Flask
app = Flask(__name__)
model = bytearray(120 << 20)
for page in range(0, len(model), 4096):
    model[page] = 1

@app.route("/")
def page():
    time.sleep(0.5)
    return f"{len(model)}"
"""


def said(container: Container) -> dict[str, int]:
    """The status at each place where the container says whether it is ready."""
    return {
        "/ready": container.get("/ready", STATUS_PORT).status_code,
        "health": container.execute("docker-flask", "health")[0],
        "HEALTH_PATH": container.get("/up").status_code,
    }


READY = {"/ready": 200, "health": 0, "HEALTH_PATH": 200}
NOT_READY = {"/ready": 503, "health": 1, "HEALTH_PATH": 503}


def test_ready_means_that_a_worker_is_loaded(engine: Engine, app_folder: Path) -> None:
    """Also after a crash of the application server."""
    app = write_files(app_folder, {"app.py": SLOW})
    container = engine.run(app=app, ports=PORTS, env={"HEALTH_PATH": "/up"})
    container.wait_until_serving()
    assert said(container) == READY
    container.shell("echo 4 > /data/pause")
    container.kill("KILL", *container.pids("uWSGI master"), *container.pids("uWSGI worker"))
    wait_for(lambda: said(container) == NOT_READY, 3, "not ready", every=0)
    assert container.get("/healthy", STATUS_PORT).status_code == 200
    begun = time.monotonic()
    assert container.get("/").text == "hello"  # requests wait meanwhile
    assert time.monotonic() - begun > 0.5
    wait_for(lambda: said(container) == READY, 2, "ready")


def test_a_start_after_a_crash_has_a_limit(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": SLOW})
    container = engine.serve(app=app, env={"START_TIMEOUT": "2"})
    container.shell("echo 60 > /data/pause")
    container.kill("KILL", *container.pids("uWSGI master"), *container.pids("uWSGI worker"))
    code, _, err = container.finish(10)
    assert code == 70
    assert "the application did not load within START_TIMEOUT=2 seconds" in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["uwsgi", "gunicorn-sync"])
def test_a_worker_that_can_not_load_while_others_serve(
    engine: Engine, app_folder: Path, name: str
) -> None:
    server = SERVERS[name]
    app = write_files(app_folder, {"app.py": CONNECTIONS, "most": "1"})
    container = engine.serve(server=server, app=app, env={"WEB_CONCURRENCY": "2", "THREADS": "1"})
    log = container.wait_for_log("for the same reason; next try after 4 seconds", 15)
    assert log.count("RuntimeError: too many connections") == 1
    assert "a worker can't load the application, while others serve; next try after 1 s" in log
    assert container.get("/").text == "hello"
    # One more connection: as many workers as before, but not another generation.
    (app / "most").write_text("2")
    container.wait_for_log("a worker has loaded the application, after", 15)
    (app / "most").write_text("3")
    begun = time.monotonic()
    code, output = container.execute("docker-flask", "reload")
    assert_within(8, time.monotonic() - begun)
    assert code == 1
    assert "RuntimeError: too many connections" in output
    assert container.get("/").text == "hello"


def test_a_child_of_a_killed_worker_keeps_no_turn(engine: Engine, app_folder: Path) -> None:
    """After a reload, all workers load one by one."""
    app = write_files(app_folder, {"app.py": FORKS})
    container = engine.serve(app=app)
    assert container.execute("docker-flask", "reload")[0] == 0
    wait_for(lambda: len(container.pids("uWSGI worker")) == 2, 10, "the end of the old ones")
    container.shell("install -o www-data /dev/null /data/die")
    container.kill("KILL", *container.pids("uWSGI worker"))
    container.wait_for_log("ended before the application was loaded", 10)
    assert container.get("/", timeout=10).text == "hello"


def test_a_model_of_which_the_memory_holds_one(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": MODEL})
    container = engine.serve(app=app, mem_limit="220m", memswap_limit="220m")
    log = container.logs()
    assert "1 worker of 16 threads (half of the cgroup limit of 220 MiB at 12" in log
    with ThreadPoolExecutor(16) as clients, httpx.Client(timeout=10) as client:
        begun = time.monotonic()
        pages = [clients.submit(client.get, container.url()) for _ in range(16)]
        assert {page.result().status_code for page in pages} == {200}
        assert_within(4, time.monotonic() - begun)
    code, output = container.execute("docker-flask", "reload")
    assert code == 1
    for words in ("1 x 12", "are free (cgroup limit of 220 MiB)", "PRELOAD=1", "docker run -m"):
        assert words in output
    assert container.get("/").status_code == 200
    assert "memory ran out" not in container.logs()
    assert container.settings()["WEB_CONCURRENCY"][0] == "1"
