"""Where a request, or an import, hangs: the log says it without anybody asking."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.harness import DEBUG, Engine, write_files

APP = """
import os, time
from flask import Flask, Response

app = Flask(__name__)

def query_orders():
    time.sleep(2.5)

@app.get("/")
def hello():
    return "hello"

@app.get("/orders/<number>")
def orders(number):
    query_orders()
    return number

@app.get("/events")
def events():
    def stream():
        yield "data: first\\n\\n"
        time.sleep(2.5)
    return Response(stream(), mimetype="text/event-stream")

@app.get("/crash")
def crash():
    import ctypes
    ctypes.string_at(0)
"""
HANGS = "import time\n\ndef connect():\n    time.sleep(60)\n\nconnect()\n"


@pytest.mark.timeout(60)
def test_slow_requests_are_named_with_their_line(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": APP})
    container = engine.serve(app=app, env={"SLOW_REQUEST": "1", "WEB_CONCURRENCY": "3"})
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(container.get, f"/orders/{n}?token=secret") for n in range(3)]
        stream = pool.submit(container.get, "/events")
        log = container.wait_for_log("a request takes longer than SLOW_REQUEST=1 seconds: GET /or")
        assert {each.result().status_code for each in found} == {200}
        assert stream.result().status_code == 200
    log = container.logs()
    assert "app.py:8 in query_orders, called by app.py:16 in orders, worker " in log
    assert log.count("a request takes longer") <= 2, "requests at the same place share a line"
    assert "/events, request" not in log, "a stream may wait for what it sends next"
    named = [line for line in log.splitlines() if "SLOW_REQUEST" in line]
    assert "secret" not in "".join(named)


def test_a_crash_in_c_shows_the_line_of_python(engine: Engine, app_folder: Path) -> None:
    container = engine.serve(app=write_files(app_folder, {"app.py": APP}))
    with contextlib.suppress(httpx.HTTPError):
        container.get("/crash")
    log = container.wait_for_log("Segmentation fault")
    assert 'File "/app/app.py", line 29 in crash' in log


@pytest.mark.parametrize("mode", ["production", "debug"])
def test_an_import_that_hangs_is_named(engine: Engine, app_folder: Path, mode: str) -> None:
    app = write_files(app_folder, {"app.py": HANGS})
    command = DEBUG if mode == "debug" else None
    container = engine.run(command, app=app, env={"START_TIMEOUT": "6"})
    said = (
        "the application still loads, after 2.0 seconds, in app.py:4 in connect, called by app.py:6"
    )
    container.wait_for_log(said)
