"""`docker-flask status` tells an operator what hangs, also if every worker does."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Container, Engine, assert_within, wait_for, write_files
from tests.support.marks import at_night
from tests.support.servers import CHOSEN, SERVERS

APP = """
import time
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"

def query_orders():
    time.sleep(4)

@app.get("/busy")
def busy():
    end = time.monotonic() + 6
    while time.monotonic() < end:
        pass
    return "busy"

@app.get("/orders/<number>")
def orders(number):
    query_orders()
    return number
"""
PLACE = "app.py:12 in query_orders, called by app.py:23 in orders"
LOCKED: dict[str, Any] = {"user": "33:33", "read_only": True, "cap_drop": ["ALL"]}


def facts(container: Container) -> dict[str, Any]:
    """What `status --json` prints."""
    code, output = container.execute("docker-flask", "status", "--json")
    assert code == 0, output
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.timed
@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", ["uwsgi", "uwsgi-gevent", *at_night("gunicorn-gthread")])
def test_status_shows_what_hangs_and_where(engine: Engine, app_folder: Path, server: str) -> None:
    chosen = SERVERS[server]
    env = {"WEB_CONCURRENCY": "2", **chosen.env}
    if not chosen.has_greenlets:
        env["THREADS"] = "2"
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(server=chosen, app=app, env=env, **LOCKED)
    asked = 4 if chosen.has_greenlets else 7
    with ThreadPoolExecutor(asked) as pool:
        clients = [pool.submit(container.get, f"/orders/{n}?token=secret") for n in range(asked)]
        rows: Any = {}
        while not rows or sum(rows["requests"][name] for name in ("running", "waiting")) < asked:
            assert not any(each.done() for each in clients)
            rows = facts(container)
        assert {(row["method"], row["place"]) for row in rows["running"]} == {("GET", PLACE)}
        assert {row["path"].startswith("/orders/") for row in rows["running"]} == {True}
        assert rows["silent"] == []
        if not chosen.has_greenlets:
            assert rows["workers"]["slots"] == 4
            assert rows["requests"] | {"queue": 0} == {
                "running": 4,
                "waiting": 3,
                "queue": 0,
                "web_sockets": 0,
            }
            wait_for(lambda: facts(container)["saturated_since"], 5, "saturation")
        text = container.shell("docker-flask status")
        assert "secret" not in text
        assert PLACE in text
        assert " more here, " in text
        assert {each.result().status_code for each in clients} == {200}
    wait_for(
        lambda: facts(container)["last_minute"]["statuses"].get("200", 0) >= asked, 5, "the counts"
    )
    assert facts(container)["saturated_since"] == 0


@pytest.mark.timeout(60)
def test_looks_at_greenlets_harm_no_worker(engine: Engine, app_folder: Path) -> None:
    """While they serve: stacks move when greenlets go on, and tuples are there before their end."""
    env = {"WEB_CONCURRENCY": "1", "SLOW_REQUEST": "1"}
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(server=SERVERS["uwsgi-gevent"], app=app, env=env)
    [worker] = container.pids(SERVERS["uwsgi-gevent"].worker)
    with ThreadPoolExecutor(120) as pool:
        slow = [pool.submit(container.get, f"/orders/{n}") for n in range(100)]
        quick = [pool.submit(container.get, "/") for n in range(500)]
        while not all(each.done() for each in slow):
            facts(container)
        assert {each.result().status_code for each in slow + quick} == {200}
    assert container.pids(SERVERS["uwsgi-gevent"].worker) == [worker]
    # A greenlet that blocks all others.
    with ThreadPoolExecutor(2) as pool:
        pool.submit(container.get, "/busy")
        rows = wait_for(lambda: facts(container)["running"], 6, "the request")
    assert rows[0]["place"].endswith("in busy")


@pytest.mark.timed
def test_workers_that_do_not_answer_are_named(engine: Engine, app_folder: Path) -> None:
    container = engine.serve(app=write_files(app_folder, {"app.py": APP}))
    workers = container.pids(CHOSEN.worker)
    container.kill("STOP", *workers)
    try:
        begun = time.monotonic()
        assert set(facts(container)["silent"]) == set(workers)
        assert_within(2.5, time.monotonic() - begun)  # with `docker exec`
        assert "silent" in container.shell("docker-flask status")
    finally:
        container.kill("CONT", *workers)
    assert facts(container)["silent"] == []


def test_what_status_refuses(engine: Engine) -> None:
    idle = engine.run(["sleep", "60"])
    code, output = idle.execute("docker-flask", "status")
    no_server = "no production server runs in this container, or it runs as another user"
    assert (code, output) == (1, f"docker-flask: {no_server}\n")
    code, output = idle.execute("docker-flask", "status", "--yaml")
    assert code == 64
    assert "status does not know '--yaml'; it takes --json and --watch" in output
