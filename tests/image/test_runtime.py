"""What an application finds at run time: its process, threads, children, time, text and log."""

from __future__ import annotations

import json
import re
import secrets
import signal
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
    Container,
    Engine,
    wait_for,
    write_files,
)
from tests.support.loss import Service
from tests.support.marks import at_night

APP = APPS / "runtime"
WORKERS, THREADS = 3, 3


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
    env = {"WEB_CONCURRENCY": str(WORKERS), "THREADS": "1", **env}
    container = engine.run(app=APP, env=env)
    container.wait_until_serving("/worker")
    return container


def every_worker(container: Container) -> list[dict[str, Any]]:
    """What each worker answers, by its pid."""

    def ask(_: int) -> dict[str, Any]:
        return dict(container.get("/worker?s=0.2").json())

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
    assert container.logs().count("; loaded once (PRELOAD=1)") == (0 if own else 1)


def test_a_background_thread_runs(container: Container) -> None:
    before = every_worker(container)
    time.sleep(0.5)  # in which no request comes
    for then, now in zip(before, every_worker(container), strict=True):
        assert now["ticks"] - then["ticks"] > 20


# --- memory that grows -------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.parametrize("threads", [1, *at_night(4)])
def test_workers_are_replaced_without_a_loss(engine: Engine, tmp_path: Path, threads: int) -> None:
    most = 50
    env = {"MAX_REQUESTS": str(most), "WEB_CONCURRENCY": str(WORKERS), "THREADS": str(threads)}
    service = Service(engine, tmp_path, env=env)
    # No more at once than there are workers for, whatever this machine is fit for.
    load: dict[str, Any] = {"connections": 4, "requests": 500}
    with (
        service.load(mode="new", **load) as get,
        service.load(method="POST", body_bytes=1000, mode="keepalive", **load) as post,
    ):
        results = get.wait(60), post.wait(60)
    verdicts = service.verdicts(*results)
    print(f"{verdicts.tries} requests:", verdicts.rows())
    assert verdicts.counts["ok"] == verdicts.tries == 1000
    assert verdicts.run_twice == []
    lines = [line.split() for line in (service.record / "record.log").read_text().splitlines()]
    per_worker = list(Counter(pid for kind, _, pid, _ in lines if kind == "S").values())
    print("requests of each worker:", per_worker)
    # What other threads answer while one says that it is enough comes on top.
    assert max(per_worker) <= (most if threads == 1 else 2 * most)
    ended = [count for count in per_worker if count >= most // 2]
    (_, same), *_ = Counter(ended).most_common()
    assert same < len(ended) / 2, "all after as many requests"


def test_a_leaking_worker_is_replaced_before_the_kernel_kills_it(
    engine: Engine, tmp_path: Path
) -> None:
    env = {"WEB_CONCURRENCY": "2", "THREADS": "1", "MAX_WORKER_MEMORY": "80m"}
    service = Service(engine, tmp_path, mem_limit="256m", env=env)
    with service.load("/leak?mb=20", connections=2, requests=60, mode="new") as leaking:
        result = leaking.wait(40)
    assert result.counts["ok"] == 60
    log = service.container.logs()
    assert "more than MAX_WORKER_MEMORY=80m; replacing the worker" in log
    assert "signal 9" not in log


EATER = """import os
from flask import Flask

held = b"x" * (int(os.environ["HELD"]) << 20)
app = Flask(__name__)


@app.get("/")
def eat():
    return str(len(b"x" * (300 << 20)))
"""
RAN_OUT = "the kernel killed a process, because memory ran out (cgroup limit of 128 MiB); raise "


def start_eater(engine: Engine, tmp_path: Path, held: int) -> Container:
    app = write_files(tmp_path / "app", {"app.py": EATER})
    return engine.run(app=app, env={"HELD": str(held)}, mem_limit="128m", memswap_limit="128m")


def test_the_log_names_memory_that_runs_out(engine: Engine, tmp_path: Path) -> None:
    container = start_eater(engine, tmp_path, 45)
    assert container.wait_until_serving("/none", status=404).status_code == 404
    assert container.get().status_code == 502
    wait_for(lambda: RAN_OUT in container.logs(), 5, "the line about memory")


def test_the_last_line_names_memory_that_is_too_small(engine: Engine, tmp_path: Path) -> None:
    container = start_eater(engine, tmp_path, 200)
    assert container.wait_for_exit(20) == 70
    assert f" before the application was loaded; {RAN_OUT}" in container.logs().splitlines()[-1]


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
    assert answer["localtime"] == answer["datetime"] == answer["logging"] == here
    line = next(
        line for line in container.wait_for_log("/time?unique").splitlines() if "unique" in line
    )
    assert f" {here}] " in line
    assert container.shell("TZ=US/Eastern date +%z").strip() in ("-0400", "-0500")


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
    """What these requests add to the access log, which is in stdout."""
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
    return [line for line in lines[begin + 1 : end] if not line.startswith("printed ")]


NASTY = [
    http(b"/text", b'User-Agent: a"b\\c'),
    http(b"/text", b"User-Agent: \x01\t\x1f \x7f \xc2\x9b"),
    http(b"/text", "User-Agent: grüße 名字 😀".encode()),
    http(b"/text", b"User-Agent: \xff\xfe \xc3( \xed\xa0\x80 \xc0\x80"),
    http(b"/text", b"User-Agent: " + "é".encode() * 6000),
    http(b'/text?"\\\xff', b"Referer: \xff"),
    http(b"/text", b"Authorization: Basic IgpcIjr/Og=="),  # "\n\":\xff:
    http(b"/text?" + b"x" * 70000),
    b"GET /text HTTP/1.0\r\n\r\n",
    b"GARBAGE \xff\r\n\r\n",
    http().replace(b"HTTP/1.1", b"HTTP/7.1"),
    http(b"/text", b"X: \0"),
]


FIELDS = [
    "time",
    "remote_addr",
    "remote_user",
    "request_method",
    "request_uri",
    "server_protocol",
    "status",
    "body_bytes_sent",
    "http_referer",
    "http_user_agent",
    "request_time",
    "upstream_response_time",
    "request_id",
    "traceparent",
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
    assert agents == ['a"b\\c', "\x01\t\x1f \x7f \x9b", "grüße 名字 😀", "not UTF-8", "é" * 6000]
    assert [entry["http_referer"] for entry in entries[:6]] == [*[""] * 5, "not UTF-8"]
    assert {entry["status"] for entry in entries} == {200, 400, 414, 505}


def test_what_the_application_writes_is_there_once_and_in_order(container: Container) -> None:
    many = 500
    assert container.get(f"/say?n={many}").text == "said"
    for how in ("printed", "logged"):  # to stdout and stderr
        log = container.wait_for_log(f"{how} {many - 1}")
        said = re.findall(rf"^.*{how} ([0-9]+)$", log, re.MULTILINE)
        assert said == [str(n) for n in range(many)]
