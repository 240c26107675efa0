"""Requests that wait: the wide server beside the narrow one, and what it must not cost.

test_waiting_loss.py has what must not be lost.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import Container, Engine, assert_within, wait_for, write_files
from tests.support.loss import Service, written_memory

WIDE = "starting 2 workers of 128 threads in addition"
ONE_WIDE = "starting 1 worker of 128 threads in addition"
APP = """
import os, threading, time
from pathlib import Path
from flask import Flask, request
app = Flask(__name__)
running, most = set(), 0
if Path("/data/broken").exists():
    raise RuntimeError("broken by the test")

@app.route("/")
def page():
    return "hello"

@app.route("/wait")
def wait():
    global most
    running.add(threading.get_ident())
    most = max(most, len(running))
    time.sleep(float(request.args.get("s", 1)))
    running.discard(threading.get_ident())
    return str(most)

@app.route("/arenas")
def arenas():
    return os.environ.get("MALLOC_ARENA_MAX", "as many as malloc wants")

kept = []

@app.route("/grow")
def grow():
    if request.environ["wsgi.multithread"]:  # in the wide server
        kept.append(b"x" * (int(request.args["mb"]) << 20))
    else:
        time.sleep(0.2)
    return "grown"

@app.route("/events")
def events():
    def stream():
        while True:
            yield "data: x\\n\\n"
            time.sleep(1)
    return app.response_class(stream(), mimetype="text/event-stream",
                              headers={"X-Accel-Buffering": "no"})
"""


def masters(container: Container) -> list[int]:
    """The first processes of the servers, the narrow one first."""
    return container.pids("uWSGI master")


def wait_for_servers(container: Container, count: int, seconds: float) -> None:
    wait_for(lambda: len(masters(container)) == count, seconds, f"{count} servers")


class Waiting:
    """Clients whose requests wait."""

    def __init__(self, container: Container, path: str, count: int) -> None:
        self._sockets = ExitStack()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", container.port()), timeout=30)
            self._sockets.enter_context(client)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._sockets.close()


@pytest.mark.timed
@pytest.mark.timeout(120)
def test_a_burst_costs_no_request(engine: Engine, tmp_path: Path) -> None:
    """The wide server comes and goes while requests arrive; its memory is free afterwards."""
    service = Service(engine, tmp_path)
    before = written_memory(service.container)
    with service.load("/sleep?s=0.1", mode="new", connections=64, method="POST") as burst:
        service.container.wait_for_log(WIDE, 10)
        wait_for_servers(service.container, 2, 10)
        time.sleep(2)
        slow = burst.finish()
    with service.load("/", mode="new", rate=50, seconds=90, method="POST") as quick:
        service.container.wait_for_log("end after their last response", 40)
        wait_for_servers(service.container, 1, 15)
        time.sleep(1)
        result = quick.finish()
    verdicts = service.verdicts(slow, result)
    assert (verdicts.lost(), verdicts.run_twice) == ([], [])
    assert result.counts["ok"] == sum(result.counts.values()) > 100
    wait_for(lambda: written_memory(service.container) < 1.15 * before, 10, "the memory to be free")


@pytest.mark.timeout(60)
def test_a_wide_server_that_can_not_load(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app)
    container.shell("touch /data/broken")
    with Waiting(container, "/wait?s=10", 20):
        log = container.wait_for_log("next try after 5 seconds", 15)
        assert log.count("RuntimeError: broken by the test") == 1
        assert "the additional workers can't load the application: " in log
        container.shell("rm /data/broken")
        wait_for(lambda: container.logs().count(WIDE) == 2, 15, "the next try")
        assert container.get("/", timeout=5).text == "hello"


def statuses(container: Container, path: str, count: int, seconds: float = 10) -> set[int]:
    """The statuses of so many requests at once, each of which may take some seconds."""
    url = container.url(path)
    with ThreadPoolExecutor(count) as clients, httpx.Client(timeout=seconds) as client:
        pages = [clients.submit(client.get, url) for _ in range(count)]
        return {page.result().status_code for page in pages}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("env", "path", "reason"),
    [
        ({"MAX_REQUESTS": "60"}, "/wait?s=0.1", "reached its share of MAX_REQUESTS=60"),
        ({"MAX_REQUESTS": "60", "PRELOAD": "1"}, "/wait?s=0.1", "its share of MAX_REQUESTS"),
        ({"MAX_WORKER_MEMORY": "100m"}, "/grow?mb=2", "more than MAX_WORKER_MEMORY=100m"),
    ],
)
def test_replaced_workers_with_endless_responses(
    engine: Engine, app_folder: Path, env: dict[str, str], path: str, reason: str
) -> None:
    """A worker with listeners stays, but takes no requests: another one takes its place."""
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, env=env, nano_cpus=1_000_000_000)
    with Waiting(container, "/events", 20):
        container.wait_for_log(ONE_WIDE, 10)
        for _ in range(5):
            assert statuses(container, path, 60) == {200}
        log = container.logs()
    assert reason in log
    assert log.count(ONE_WIDE) >= 2


@pytest.mark.timed
@pytest.mark.timeout(60)
def test_requests_that_hang_in_the_wide_server(engine: Engine, app_folder: Path) -> None:
    """Their clients get 504, and their workers are replaced, after the requests of others."""
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, env={"REQUEST_TIMEOUT": "4"})
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(statuses, container, "/wait?s=30", 20)
        container.wait_for_log(WIDE, 10)
        wait_for_servers(container, 2, 10)
        before = set(container.pids("uWSGI worker"))
        time.sleep(2)
        others = pool.submit(statuses, container, "/wait?s=3", 20)
        for _ in range(20):
            begun = time.monotonic()
            assert container.get("/wait?s=0.1").status_code == 200
            assert_within(2, time.monotonic() - begun)
        assert (hanging.result(), others.result()) == ({504}, {200})
    wait_for(lambda: before - set(container.pids("uWSGI worker")), 10, "other workers")
    assert "a request took longer than REQUEST_TIMEOUT=4 seconds" in container.logs()


@pytest.mark.timeout(60)
def test_a_wide_worker_crashes(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(statuses, container, "/wait?s=3", 20)
        container.wait_for_log(WIDE, 10)
        workers = wait_for(lambda: container.pids("uWSGI worker")[3:], 10, "two wide workers")
        assert container.get("/arenas").text == "2"
        container.kill("SEGV", *workers)
        # nginx tries GET requests again.
        assert waiting.result() == {200}
    log = container.wait_for_log("died, killed by signal 11", 5)
    assert "next try" not in log
    wait_for(lambda: len(container.pids("uWSGI worker")) == 4, 10, "another wide worker")


@pytest.mark.nightly
@pytest.mark.timeout(90)
def test_the_memory_does_not_hold_what_wide_workers_take(engine: Engine, app_folder: Path) -> None:
    """The narrow ones serve on, and the pauses between two tries grow."""
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, mem_limit="160m", memswap_limit="160m")
    narrow = container.pids("uWSGI worker")
    with Waiting(container, "/wait?s=50", 1):
        for pause in (5, 10):

            def look(words: str = f"next try after {pause} seconds") -> str:
                statuses(container, "/grow?mb=150", 20, seconds=30)
                return log if words in (log := container.logs()) else ""

            log = wait_for(look, 40, "memory that runs out")
            assert container.get("/").text == "hello"
    assert "because memory ran out (cgroup limit of 160 MiB)" in log
    assert [log.count(f"next try after {pause} seconds") for pause in (5, 10)] == [1, 1]
    # The kernel may kill a narrow worker if the wide ones have just started.
    assert set(narrow) & set(container.pids("uWSGI worker"))


@pytest.mark.timeout(60)
def test_a_process_of_the_application_does_not_hold_the_wide_server(
    engine: Engine, app_folder: Path
) -> None:
    """Workers that load forever neither: this one has a limit."""
    more = "import subprocess; subprocess.Popen(['sleep', '1000'])\n"
    app = write_files(app_folder, {"app.py": more + APP})
    container = engine.serve(app=app, env={"START_TIMEOUT": "2"})
    (app / "app.py").write_text(f"{more}import time; time.sleep(1000)")
    with Waiting(container, "/wait?s=10", 20):
        log = container.wait_for_log("next try after 5 seconds", 10)
        assert "did not load the application within START_TIMEOUT=2 seconds" in log
        wait_for_servers(container, 1, 5)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "options",
    [{"pids_limit": 60}, {"read_only": True, "user": "12345", "cap_drop": ["ALL"]}],
    ids=str,
)
def test_a_wide_server_in_tight_limits(
    engine: Engine, app_folder: Path, options: dict[str, Any]
) -> None:
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, **options)
    with Waiting(container, "/wait?s=5", 12):
        container.wait_for_log("in addition", 10)
        wait_for_servers(container, 2, 10)
        assert statuses(container, "/", 4, seconds=4) == {200}
        container.reload()
        assert statuses(container, "/", 4, seconds=4) == {200}
    assert container.stop()[0] == 0


@pytest.mark.timed
@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/events", "/wait?s=40"])
def test_a_page_beside_requests_that_wait_for_long(
    engine: Engine, app_folder: Path, path: str
) -> None:
    """100 listeners of events, or 100 requests that hang, on one CPU."""
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, nano_cpus=1_000_000_000)
    with Waiting(container, path, 100):
        container.wait_for_log(ONE_WIDE, 10)
        container.get("/", timeout=10)
        for _ in range(20):
            begun = time.monotonic()
            assert container.get("/").text == "hello"
            assert_within(1, time.monotonic() - begun)


@pytest.mark.timeout(60)
def test_one_thread_never_runs_two_requests(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, env={"THREADS": "1"})
    assert "4 workers (affinity" in container.logs() or " workers (" in container.logs()
    with Waiting(container, "/wait?s=1", 20):
        time.sleep(3)
        assert container.get("/wait?s=0", timeout=20).text == "1"
    assert container.get("/arenas").text == "as many as malloc wants"
    assert "in addition" not in container.logs()
