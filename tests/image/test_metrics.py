"""/metrics on the status port: exact counts, saturation, and the application's own metrics."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.image.test_status import STATUS, address
from tests.support.harness import (
    Container,
    Engine,
    assert_within,
    image_with,
    wait_for,
    write_files,
)
from tests.support.marks import at_night
from tests.support.servers import CHOSEN

PROMETHEUS = "prometheus_client==0.26.0"
STOPS = 'docker_flask_worker_ends_total{reason="stop"}'
CRASHES = 'docker_flask_worker_ends_total{reason="crash"}'
APP = """
import os, time
from flask import Flask
app = Flask(__name__)

@app.route("/", methods=["GET", "POST"])
def page():
    return "hello"

@app.get("/wait")
def wait():
    time.sleep(3)
    return "waited"

@app.get("/die")
def die():
    os._exit(7)
"""
OWN = """
import os
from flask import Flask
from prometheus_client import Counter, Gauge, Histogram
app = Flask(__name__)
orders = Counter("orders", "Orders.", ["kind"])
sizes = Histogram("order_size", "Sizes.", buckets=(1, 10))
busy = Gauge("busy", "Busy.", multiprocess_mode="livesum")

@app.get("/")
def page():
    return "hello"

@app.get("/order/<kind>")
def order(kind):
    orders.labels(kind).inc()
    sizes.observe(5)
    busy.set(1)
    return str(os.getpid())
"""


def scrape(container: Container) -> httpx.Response:
    """A page of the status port, without the engine's proxy."""
    return httpx.get(f"http://{address(container)}:{STATUS}/metrics", timeout=10)


def rows(page: str) -> dict[str, float]:
    """The series of a page."""
    lines = [line.rpartition(" ") for line in page.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def read(container: Container) -> dict[str, float]:
    """The series of a scrape."""
    return rows(scrape(container).text)


def requests(metrics: dict[str, float], status: int, method: str = "GET") -> float:
    return metrics[f'docker_flask_http_requests_total{{method="{method}",status="{status}"}}']


def test_requests_are_counted_exactly_over_reloads_and_kills(
    engine: Engine, app_folder: Path
) -> None:
    container = engine.serve(app=write_files(app_folder, {"app.py": APP}))
    # The application could replace a pipe that has a name, and nginx would wait for its reader.
    assert not container.shell("find /run/docker-flask -type p")
    wait_for(lambda: requests(read(container), 200) == 1, 5, "the harness's own request")
    for round_ in range(3):
        for _ in range(20):
            assert container.get("/").status_code == 200
        assert container.get("/none").status_code == 404
        assert httpx.post(container.url(), content=b"x").status_code == 200
        if round_ == 0:
            container.shell("docker-flask reload")
            # Until then, the old workers are in the list, too.
            wait_for(lambda: read(container)[STOPS] >= 2, 15, "the end of the old workers")
        else:
            container.kill("KILL", *container.pids(CHOSEN.worker)[-1:])
            ends = float(round_)
            wait_for(lambda n=ends: read(container)[CRASHES] >= n, 10, "the end of the worker")
            # Until then, the pid of the worker that has ended is in the list.
            wait_for(lambda: len(container.pids(CHOSEN.worker)) >= 2, 10, "a new worker")
            wait_for(lambda: container.get("/").status_code == 200, 10, "a page")
    wait_for(lambda: requests(read(container), 404) == 3, 5, "all requests")
    seen = read(container)
    assert requests(seen, 200, "POST") == 3
    assert requests(seen, 200) >= 61
    assert seen['docker_flask_reloads_total{result="ok"}'] == 1
    assert seen[STOPS] >= 2
    assert seen[CRASHES] >= 2
    assert seen["docker_flask_worker_starts_total"] >= 6
    assert seen["docker_flask_http_request_duration_seconds_count"] >= 67
    assert seen["docker_flask_memory_used_bytes"] > 0


@pytest.mark.timed
def test_saturation_and_a_scrape_while_workers_stand_still(
    engine: Engine, app_folder: Path
) -> None:
    env = {"WEB_CONCURRENCY": "2", "THREADS": "1"}
    container = engine.serve(app=write_files(app_folder, {"app.py": APP}), env=env)
    with ThreadPoolExecutor(5) as pool:
        clients = [pool.submit(container.get, "/wait") for _ in range(5)]
        wait_for(lambda: read(container)["docker_flask_saturated"], 5, "saturation")
        seen = read(container)
        assert seen["docker_flask_requests_running"] == 2
        assert seen["docker_flask_requests_waiting"] >= 1
        assert seen["docker_flask_requests_at_once"] == 2
        assert {each.result().status_code for each in clients} == {200}
    wait_for(lambda: not read(container)["docker_flask_saturated"], 5, "its end")
    workers = container.pids(CHOSEN.worker)
    container.kill("STOP", *workers)
    try:
        took = min(scrape(container).elapsed for _ in range(5))
        assert_within(0.05, took.total_seconds())
    finally:
        container.kill("CONT", *workers)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("preload", ["0", *at_night("1")])
def test_metrics_of_the_application_add_up(engine: Engine, app_folder: Path, preload: str) -> None:
    """All workers of all generations are in one page, and the files do not grow."""
    app = write_files(app_folder, {"app.py": OWN})
    env = {"WEB_CONCURRENCY": "3", "UWSGI_CHEAPER": "2", "PRELOAD": preload}
    container = engine.serve(image=image_with(PROMETHEUS), app=app, env=env)

    def orders() -> float:
        time.sleep(1)  # a page is new for so long
        return read(container).get('orders_total{kind="book"}', 0)

    for number in range(1, 5):
        pids = {container.get("/order/book").text for _ in range(25)}
        assert orders() == 25 * number
        if number % 2:
            container.shell("docker-flask reload")
        else:
            container.kill("KILL", *map(int, pids))
            wait_for(lambda: container.get("/").status_code == 200, 10, "a page")
    seen = read(container)
    assert seen['order_size_bucket{le="10.0"}'] == 100
    assert seen["docker_flask_ready"] == 1
    files = container.shell("ls /run/docker-flask/metrics").split()
    slots = {name for name in files if re.fullmatch(r"slot\d+", name)}
    assert len(slots) <= 6
    assert {re.search(r"slot\d+", name) is not None for name in files} == {True}
    container.shell("printf %2000s x > /run/docker-flask/metrics/counter_slot99.db")
    assert orders() == 100
    container.wait_for_log("metrics/counter_slot99.db: ")
