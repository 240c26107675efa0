"""/metrics under bad conditions: many labels, a reload, a full disk."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.image.test_metrics import CRASHES, OWN, PROMETHEUS, read, rows, scrape
from tests.image.test_status import STATUS, address
from tests.support.harness import (
    Container,
    Engine,
    assert_within,
    image_with,
    wait_for,
    write_files,
)
from tests.support.servers import CHOSEN

pytestmark = pytest.mark.nightly

MANY = """
import os
from flask import Flask
from prometheus_client import Counter
app = Flask(__name__)
visits = Counter("visits", "Visits.", ["address"])

@app.get("/")
def page():
    return "hello"

@app.get("/visit/<int:many>")
def visit(many):
    for number in range(many):
        visits.labels(f"10.0.{number >> 8}.{number & 255}").inc()
    return str(os.getpid())
"""
RUNTIME = "/run/docker-flask"


def serve(engine: Engine, folder: Path, app: str, **options: Any) -> Container:
    app_folder = write_files(folder, {"app.py": app})
    return engine.serve(image=image_with(PROMETHEUS), app=app_folder, **options)


@pytest.mark.timed
def test_ten_thousand_label_values(engine: Engine, app_folder: Path) -> None:
    """Of three workers: all are in the page, and process 1 answers others meanwhile."""
    container = serve(
        engine, app_folder, MANY, env={"WEB_CONCURRENCY": "3", "UWSGI_CHEAPER": "2", "THREADS": "1"}
    )
    with ThreadPoolExecutor(3) as pool:
        visits = list(pool.map(container.get, ["/visit/10000"] * 3))
    assert {visit.status_code for visit in visits} == {200}
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        page = pool.submit(scrape, container)
        late = 0.0
        while not page.done():
            asked = time.monotonic()
            assert httpx.get(f"http://{address(container)}:{STATUS}/healthy").status_code == 200
            late = max(late, time.monotonic() - asked)
        took = time.monotonic() - begun
    seen = rows(page.result().text)
    assert sum(value for name, value in seen.items() if name.startswith("visits_total")) == 30_000
    print(f"{len(page.result().text)} bytes in {took:.2f} s, others waited {late:.3f} s")
    assert_within(3, took)
    assert_within(0.5, late)
    assert seen["docker_flask_ready"] == 1


def test_scrapes_in_the_middle_of_reloads_and_two_at_once(engine: Engine, app_folder: Path) -> None:
    container = serve(engine, app_folder, OWN)
    container.get("/order/book")
    wait_for(lambda: "orders_total" in scrape(container).text, 5, "the application's metrics")
    with ThreadPoolExecutor(3) as pool:
        reloads = pool.submit(container.shell, "for _ in 1 2 3; do docker-flask reload; done")
        pages: list[httpx.Response] = []
        while not reloads.done():
            pages += pool.map(scrape, [container] * 2)
        reloads.result()
    print(f"{len(pages)} scrapes")
    assert len(pages) > 10
    for page in pages:
        seen = rows(page.text)
        assert seen['orders_total{kind="book"}'] == 1
        assert seen["docker_flask_ready"] == 1
    seen = read(container)
    assert seen['docker_flask_reloads_total{result="ok"}'] == 3


def test_a_full_disk_under_the_runtime_folder(engine: Engine, app_folder: Path) -> None:
    """A new worker has no room for files of metrics, and serves without them."""
    tmpfs = {RUNTIME: "size=16m,uid=33,gid=33,mode=700"}
    container = serve(engine, app_folder, OWN, tmpfs=tmpfs)
    assert container.get("/order/book").status_code == 200
    container.shell(f"cat /dev/zero >{RUNTIME}/full 2>/dev/null || true")
    code, output = container.execute("docker-flask", "status", "--json")
    assert (code, json.loads(output)["state"]) == (0, "serving")
    code, output = container.execute("docker-flask", "reload")
    assert code == 1
    why = f"[Errno 28] No space left on device: '{RUNTIME}/next/uwsgi_params'; delete files on this"
    assert f"keeping the previous generation: {why}" in output
    container.kill("KILL", *container.pids(CHOSEN.worker))
    missing = "metrics of the application are missing in /metrics"
    container.wait_for_log(f"{missing}: less than 1 MB is free")
    wait_for(lambda: container.get("/").status_code == 200, 10, "a page")
    crashes = read(container)[CRASHES]
    for _ in range(20):
        assert container.get("/order/book").status_code == 200
    seen = read(container)
    assert seen["docker_flask_ready"] == 1
    assert seen['orders_total{kind="book"}'] == 1
    assert seen[CRASHES] == crashes
