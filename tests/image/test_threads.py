"""Threads that outlive their request, as those that send a mail after the response."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import Container, Engine, assert_within, wait_for
from tests.support.marks import at_night
from tests.support.servers import SERVERS

APP = r"""
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, request

app = Flask(__name__)
pool = ThreadPoolExecutor(2)


def send(kind, seconds):
    time.sleep(seconds)  # here
    os.write(1, f"sent by {kind}\n".encode())  # in one piece


STARTS = {
    "daemon": lambda *job: threading.Thread(target=send, args=job, daemon=True).start(),
    "ordinary": lambda *job: threading.Thread(target=send, args=job).start(),
    "timer": lambda kind, seconds: threading.Timer(seconds / 2, send, (kind, seconds / 2)).start(),
    "pool": lambda *job: pool.submit(send, *job),
}


@app.get("/")
def hello():
    return "hello"


@app.get("/send/<kind>")
def start(kind):
    STARTS[kind](kind, float(request.args["s"]))
    return str(os.getpid())
"""
KINDS = ["daemon", "ordinary", "pool", "timer"]
HERE = f"/app/app.py:{APP[: APP.index('# here')].count(chr(10)) + 1}"
ONE = {"WEB_CONCURRENCY": "1"}
every_server = pytest.mark.parametrize(
    ("name", "env"),
    [
        ("uwsgi", ONE),
        ("gunicorn-gevent", ONE),
        *at_night(
            ("uwsgi", {**ONE, "THREADS": "4"}),
            ("uwsgi", {**ONE, "PRELOAD": "1"}),
            ("uwsgi-gevent", ONE),
            ("gunicorn-sync", ONE),
            ("gunicorn-gthread", {**ONE, "THREADS": "4"}),
        ),
    ],
)


@pytest.fixture
def app(app_folder: Path) -> Path:
    (app_folder / "app.py").write_text(APP)
    return app_folder


def send(container: Container, seconds: float, *kinds: str) -> None:
    for kind in kinds:
        assert container.get(f"/send/{kind}?s={seconds}").status_code == 200


def sent(container: Container) -> list[str]:
    """The kinds of threads that have done their work."""
    lines = container.logs().splitlines()
    return sorted(line.removeprefix("sent by ") for line in lines if line.startswith("sent by "))


@every_server
def test_a_stop_waits_for_threads(
    engine: Engine, app: Path, name: str, env: dict[str, str]
) -> None:
    container = engine.serve(server=SERVERS[name], app=app, env=env)
    send(container, 3, *KINDS)
    code, took = container.stop()
    assert sent(container) == KINDS, container.logs()
    assert code == 0, container.logs()
    assert_within(6, took)
    # The threads of the pool, which have nothing to do, delay no stop.
    container.docker.start()
    container.wait_until_serving()
    send(container, 0.1, "pool")
    wait_for(lambda: len(sent(container)) == len(KINDS) + 1, 5, "the work to be done")
    code, took = container.stop()
    assert code == 0, container.logs()
    assert_within(3, took)


def test_a_stop_names_what_it_cuts(engine: Engine, app: Path) -> None:
    container = engine.serve(app=app, env={**ONE, "GRACEFUL_TIMEOUT": "2"})
    send(container, 60, "daemon", "ordinary")
    code, took = container.stop()
    log = container.logs()
    assert code == 75, log
    assert_within(4, took)
    assert log.count(f"a thread that a request started was cut in {HERE} (Thread-") == 2
    assert "stopped; 2 threads were cut after GRACEFUL_TIMEOUT=2" in log.splitlines()[-1]


@every_server
def test_a_reload_waits_for_threads(
    engine: Engine, app: Path, name: str, env: dict[str, str]
) -> None:
    container = engine.serve(server=SERVERS[name], app=app, env=env)
    send(container, 5, *KINDS)
    container.reload()
    wait_for(lambda: sent(container) == KINDS, 10, "the work to be done")
    title = "gunicorn: master" if name.startswith("gunicorn") else "uWSGI master"
    wait_for(lambda: len(container.pids(title)) == 1, 5, "the end of the old generation")


@every_server
def test_a_worker_that_is_replaced_waits_for_threads(
    engine: Engine, app: Path, name: str, env: dict[str, str]
) -> None:
    env = {**env, "MAX_REQUESTS": "1"}
    container = engine.serve(server=SERVERS[name], app=app, env=env)
    for kind in KINDS:
        send(container, 4, kind)
        assert container.get("/").text == "hello", "the site serves meanwhile"
    wait_for(lambda: sent(container) == KINDS, 10, "the work to be done")
    before = container.logs().count("replacing the worker")
    container.get("/")
    wait_for(lambda: container.logs().count("replacing the worker") > before, 5, "its end")


def test_a_thread_that_never_ends_delays_nothing_for_ever(engine: Engine, app: Path) -> None:
    container = engine.serve(app=app, env={**ONE, "REQUEST_TIMEOUT": "1"})
    send(container, 600, "daemon", "ordinary")
    code, took = container.stop()
    assert code == 0, container.logs()
    assert_within(4, took)
    assert container.logs().count(f"was cut in {HERE} (Thread-") == 2
