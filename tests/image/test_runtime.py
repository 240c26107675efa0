"""What an application finds at run time: its process, threads, children, time, text and log."""

from __future__ import annotations

import json
import re
import secrets
import signal
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.harness import (
    APPS,
    HELLO,
    Container,
    Engine,
    image_with,
    wait_for,
)
from tests.support.loss import Service, written_memory
from tests.support.marks import at_night

APP = APPS / "runtime"
WORKERS, THREADS = 3, 3
BALLAST = 60  # MiB that the application takes when it is imported


NUMPY = """
import os, threading, time
import numpy
from flask import Flask, request

app = Flask(__name__)

@app.get("/")
def trace():
    size = request.args.get("size", 30, type=int)
    matrix = numpy.random.default_rng(1).random((size, size)) + 2 * numpy.eye(size)
    product = numpy.linalg.inv(matrix) @ matrix
    time.sleep(0.1)  # the requests of a test run at the same time
    return [round(numpy.trace(product) / size, 6), os.getpid(), threading.get_ident()]
"""


@pytest.fixture(scope="module")
def container(module_engine: Engine) -> Container:
    """The application of these tests, in production with a few settings."""
    return start(module_engine)


@pytest.fixture(scope="module")
def preloaded(module_engine: Engine) -> Container:
    """The same with PRELOAD=1, and an access log in JSON."""
    return start(module_engine, PRELOAD="1", ACCESS_LOG="json")


@pytest.fixture(scope="module")
def threaded(module_engine: Engine) -> Container:
    """The same with one worker of several threads, in Berlin."""
    return start(module_engine, WEB_CONCURRENCY="1", THREADS=str(THREADS), TZ="Europe/Berlin")


def start(engine: Engine, **env: str) -> Container:
    """Run the application of these tests until it serves."""
    env = {"WEB_CONCURRENCY": str(WORKERS), "BALLAST_MB": str(BALLAST), **env}
    container = engine.run(app=APP, env=env)
    container.wait_until_serving("/worker")
    return container


def every_worker(container: Container, path: str = "/worker") -> list[dict[str, Any]]:
    """What each worker answers, by its pid."""

    def ask(_: int) -> dict[str, Any]:
        response = container.get(path, params={"s": 0.2})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def look() -> dict[int, dict[str, Any]]:
        with ThreadPoolExecutor(WORKERS) as pool:
            answers = {answer["pid"]: answer for answer in pool.map(ask, range(WORKERS))}
        return answers if len(answers) == WORKERS else {}

    answers = wait_for(look, 10, "an answer of each worker")
    return [answers[pid] for pid in sorted(answers)]


# --- loaded in each worker, or once ------------------------------------------------------------


@pytest.mark.parametrize("how", ["container", "preloaded"])
def test_connections_opened_at_import(how: str, request: pytest.FixtureRequest) -> None:
    """Each worker has its own connection; with PRELOAD=1 all share one, and the log has a line."""
    container: Container = request.getfixturevalue(how)
    answers = every_worker(container)
    own = how == "container"
    assert len({answer["connection"] for answer in answers}) == (WORKERS if own else 1)
    assert all((answer["imported_by"] == answer["pid"]) == own for answer in answers)
    said = "its workers share the connections opened at import"
    assert container.logs().count(said) == (0 if own else 1)


@pytest.mark.nightly
def test_preloaded_workers_share_memory(container: Container, preloaded: Container) -> None:
    used = []
    for each in (container, preloaded):
        every_worker(each)
        used.append(written_memory(each))
    print("MiB of memory, loaded in each worker and once:", [size >> 20 for size in used])
    assert used[1] < used[0] - (WORKERS - 1) * (BALLAST << 20) * 0.9


def test_a_background_thread_runs(container: Container) -> None:
    before = every_worker(container)
    time.sleep(0.5)  # in which no request comes
    after = every_worker(container)
    for then, now in zip(before, after, strict=True):
        assert now["ticks"] - then["ticks"] > 20


# --- memory that grows -------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.parametrize("threads", [1, *at_night(4)])
def test_workers_are_replaced_without_a_loss(engine: Engine, tmp_path: Path, threads: int) -> None:
    most = 50
    env = {"MAX_REQUESTS": str(most), "WEB_CONCURRENCY": str(WORKERS), "THREADS": str(threads)}
    service = Service(engine, tmp_path, env=env)
    # No more at once than there are workers for, whatever this machine is fit for.
    load: dict[str, Any] = {"connections": 4, "requests": 1000}
    with (
        service.load(mode="new", **load) as get,
        service.load(method="POST", body_bytes=1000, mode="keepalive", **load) as post,
    ):
        results = get.wait(60), post.wait(60)
    verdicts = service.verdicts(*results)
    print(f"{verdicts.tries} requests:", verdicts.rows())
    assert verdicts.counts["ok"] == verdicts.tries == 2000
    assert verdicts.run_twice == []
    per_worker = requests_by_worker(service)
    print("requests of each worker:", per_worker)
    # What other threads answer while one says that it is enough comes on top.
    assert max(per_worker) <= (most if threads == 1 else 2 * most)
    ended = [count for count in per_worker if count >= most // 2]
    (_, same), *_ = Counter(ended).most_common()
    assert same < len(ended) / 2, "all after as many requests"


def requests_by_worker(service: Service) -> list[int]:
    """How many requests each worker has begun, as the application noted."""
    lines = [line.split() for line in (service.record / "record.log").read_text().splitlines()]
    return list(Counter(pid for kind, _, pid, _ in lines if kind == "S").values())


@pytest.mark.timed
def test_a_worker_that_ends_is_replaced_at_once(container: Container) -> None:
    times = []
    for _ in range(5):
        time.sleep(0.37)  # to meet the master at any point of what it does once a second
        before = container.pids("uWSGI worker")
        container.kill("KILL", before[0])
        begun = time.monotonic()
        wait_for(lambda b=before: set(container.pids("uWSGI worker")) - set(b), 5, "a worker")
        times.append(time.monotonic() - begun)
    print("a worker is back after", times)
    assert statistics.median(times) < 0.3


def test_a_leaking_worker_is_replaced_before_the_kernel_kills_it(
    engine: Engine, tmp_path: Path
) -> None:
    env = {"WEB_CONCURRENCY": "2", "MAX_WORKER_MEMORY": "80m"}
    service = Service(engine, tmp_path, mem_limit="256m", env=env)
    with service.load("/leak?mb=20", connections=2, requests=60, mode="new") as leaking:
        result = leaking.wait(40)
    assert result.counts["ok"] == 60
    log = service.container.logs()
    assert "more than MAX_WORKER_MEMORY=80m; replacing the worker" in log
    assert "signal 9" not in log


@pytest.mark.nightly
def test_a_thread_of_the_application_does_not_keep_a_worker(
    engine: Engine, app_folder: Path
) -> None:
    """Python waits for such a thread before it ends."""
    thread = "import threading\nthreading.Thread(target=time.sleep, args=[1000]).start()\n"
    (app_folder / "app.py").write_text(HELLO + thread)
    env = {"WEB_CONCURRENCY": "1", "MAX_REQUESTS": "1"}
    container = engine.serve(app=app_folder, env=env)
    first = container.pids("uWSGI worker")
    wait_for(lambda: container.get() and container.pids("uWSGI worker") != first, 5, "another")


# --- child processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["container", "threaded", "preloaded"])
def test_child_processes(how: str, request: pytest.FixtureRequest) -> None:
    container: Container = request.getfixturevalue(how)

    def ask(_: int) -> dict[str, Any]:
        return dict(container.get("/children", params={"s": 0.2}).json())

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, range(THREADS)))
    assert answers == THREADS * [
        {
            "printed": "grüße\n",
            "blocked": 0,
            "ignored": 0,
            "program": -signal.SIGTERM,
            "function": -signal.SIGTERM,
            "squares": [0, 1, 4, 9],
        }
    ]
    zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z ' || true"
    wait_for(lambda: container.execute("bash", "-c", zombies)[1].strip() == "0", 5, "zombies to go")


# --- time and text -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["container", "threaded"])
def test_time_zone(how: str, request: pytest.FixtureRequest) -> None:
    container: Container = request.getfixturevalue(how)
    answer = container.get("/time?unique").json()
    here = answer["Berlin"] if how == "threaded" else "+0000"
    assert answer["Berlin"] in ("+0100", "+0200")
    assert set(answer.values()) == {here, answer["Berlin"]}
    assert answer["localtime"] == answer["datetime"] == answer["logging"] == here
    log = container.wait_for_log("/time?unique")
    line = next(line for line in log.splitlines() if "/time?unique" in line)
    assert f" {here}] " in line


def test_text_is_utf_8(container: Container) -> None:
    words = "grüße, 名字"
    answer = container.get("/text").json()
    assert answer == {"names": [words], "content": words, "listed": words}
    container.wait_for_log(f"printed {words}")
    container.wait_for_log(f"logged {words}")


# --- the log -----------------------------------------------------------------------------------


def http(path: bytes = b"/text", *headers: bytes) -> bytes:
    """A request of bytes that a library would refuse to send."""
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", b""])


def between(container: Container, *requests: bytes) -> list[str]:
    """What these requests add to stdout, where the access log is."""
    marks = [f"/mark-{secrets.token_hex(8)}" for _ in range(2)]
    container.get(marks[0])
    container.wait_for_log(marks[0])
    for request in requests:
        raw_http.exchange(container.port(), request, end=False)
    container.get(marks[1])
    container.wait_for_log(marks[1])
    lines = container.docker.logs(stderr=False).decode(errors="replace").split("\n")
    begin, end = (
        next(i for i, line in enumerate(lines) if mark in line and "HTTP/1.1" in line)
        for mark in marks
    )
    return lines[begin + 1 : end]


NASTY = [
    http(b"/text", b'User-Agent: a"b\\c'),
    http(b"/text", b"User-Agent: \x01\t\x1f \x7f"),
    http(b"/text", "User-Agent: grüße 名字 😀".encode()),
    http(b"/text", b"User-Agent: \xff\xfe \xc3( \xed\xa0\x80 \xc0\x80"),
    http(b"/text", b"User-Agent: " + "é".encode() * 6000),
    http(b"/text", b"User-Agent: " + b"\\" * 12000),
    http(b'/text?"\\\xff', b"Referer: \xff"),
    http("/text?grüße%0A%FF".encode(), b'Referer: "}'),
    http(b"/text", b"Authorization: Basic IgpcIjr/Og=="),  # "\n\":\xff:
    http(b"/text?" + b"x" * 15000),
    http(b"/text?" + b"x" * 70000),
    b"GET /text HTTP/1.0\r\n\r\n",
    b"GET /text\r\n",
    b"GARBAGE \xff\r\n\r\n",
    http().replace(b"HTTP/1.1", b"HTTP/7.1"),
    http(b"/text", b"X: \0"),
]


FIELDS = [
    *("time", "remote_addr", "remote_user", "request_method", "request_uri", "server_protocol"),
    *("status", "body_bytes_sent", "http_referer", "http_user_agent", "request_time"),
    "request_id",
]


def test_access_log_in_json_is_json_whatever_is_asked(preloaded: Container) -> None:
    lines = between(preloaded, *NASTY)
    assert len(lines) == len(NASTY)
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        assert list(entry) == FIELDS
        assert isinstance(entry["status"], int)
        assert isinstance(entry["request_time"], float)
        datetime.fromisoformat(entry["time"])
    # The engine's log would hide what is no UTF-8 behind this character.
    assert "\ufffd" not in "".join(lines)
    agents = [entry["http_user_agent"] for entry in entries[:5]]
    assert agents == ['a"b\\c', "\x01\t\x1f \x7f", "grüße 名字 😀", "not UTF-8", "é" * 6000]
    assert [entry["http_referer"] for entry in entries[:7]] == [*[""] * 6, "not UTF-8"]
    assert entries[7]["request_uri"] == "/text?grüße%0A%FF"
    assert {entry["status"] for entry in entries} == {200, 400, 414, 505}


def test_access_log_escapes_what_a_client_says(container: Container) -> None:
    lines = between(container, *NASTY)
    assert len(lines) == len(NASTY)
    assert '"a\\x22b\\x5Cc" ' in lines[0]
    assert '"\\x01\\x09\\x1F \\x7F" ' in lines[1]
    form = re.compile(
        r'[\d.]+ - \S+ \[[^]]+\] "[^"]*" [0-9]{3} [0-9]+ "[^"]*" "[^"]*" [0-9.]+ [0-9a-f]{32}'
    )
    assert [line for line in lines if not form.fullmatch(line)] == []


@pytest.mark.nightly
def test_health_checks_leave_no_line(container: Container) -> None:
    between(container)  # what is still to be written before
    before = len(container.logs().splitlines())
    for _ in range(5):
        assert container.execute("docker-flask", "health") == (0, "")
    assert between(container) == []
    assert len(container.logs().splitlines()) == before + 2, "besides the marks"


def test_what_the_application_writes_is_there_once_and_in_order(container: Container) -> None:
    many = 500
    assert container.get(f"/say?n={many}").text == "said"
    log = container.wait_for_log(f"logged {many - 1}")
    said = re.findall(r"^.*(printed|logged) ([0-9]+)$", log, re.MULTILINE)
    assert said == [(how, str(n)) for n in range(many) for how in ("printed", "logged")]


# --- C extensions ------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.timeout(200)  # with the download
@pytest.mark.parametrize("preload", ["0", "1"])
def test_numpy_in_workers_and_threads_and_after_a_reload(
    engine: Engine, app_folder: Path, preload: str
) -> None:
    (app_folder / "app.py").write_text(NUMPY)
    env = {"WEB_CONCURRENCY": "2", "THREADS": str(THREADS), "PRELOAD": preload}
    container = engine.serve(app=app_folder, env=env, image=image_with("numpy"))

    def ask(_: int) -> list[Any]:
        return list(container.get().json())

    with ThreadPoolExecutor(6) as pool:
        before = list(pool.map(ask, range(12)))
        assert container.execute("docker-flask", "reload")[0] == 0
        after = list(pool.map(ask, range(12)))
    assert {trace for trace, _, _ in before + after} == {1.0}
    # Large enough for numpy to start threads of its own.
    assert container.get("/?size=300").json()[0] == 1.0
    # Several processes and threads of each, none of them the same after the reload.
    assert len({(pid, thread) for _, pid, thread in before}) > 2
    assert not {pid for _, pid, _ in before} & {pid for _, pid, _ in after}
