"""Kill anything, lose nothing: each thing that ends a request elsewhere, under load, counted."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Engine, Keyboard, assert_within, wait_for
from tests.support.loss import Load, Service
from tests.support.loss_checker.result import Result, Verdict
from tests.support.marks import at_night
from tests.support.servers import CHOSEN, SERVERS, Server

NEW = {"mode": "new", "rate": 1500}
KEPT = {"mode": "keepalive", "connections": 50}
FAST = {"mode": "new", "rate": 4000}
STEADY: dict[str, Any] = {"mode": "new", "rate": 300}
MOST_TURNED_AWAY = 16  # clients that a stop may answer with 503; it refuses all others
SETTLE = 1.5  # s of steady load before and after what is done

# `make test-all` tries all of it with each application server, chosen by SERVER. Without SERVER,
# some of it is tried with the most different ones, too.
UWSGI = SERVERS["uwsgi"]
VARIANTS = {**SERVERS, "uwsgi-preload": replace(UWSGI, env={"PRELOAD": "1"})}
NAME = next(name for name in SERVERS if SERVERS[name] is CHOSEN)
IS_DEFAULT = CHOSEN is UWSGI
every_server = pytest.mark.parametrize(
    "server",
    [NAME, *(["gunicorn-gevent", *at_night("uwsgi-preload")] if IS_DEFAULT else [])],
    indirect=True,
)
every_server_at_night = pytest.mark.parametrize(
    "server",
    [NAME, *at_night(*(["gunicorn-gevent", "uwsgi-preload"] if IS_DEFAULT else []))],
    indirect=True,
)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """The application server: that which SERVER names, or each."""
    return VARIANTS[request.param] if hasattr(request, "param") else CHOSEN


@pytest.fixture
def service(
    engine: Engine, tmp_path: Path, server: Server, request: pytest.FixtureRequest
) -> Service:
    """The checked application in production, serving; a mark may give it settings."""
    marker = request.node.get_closest_marker("service")
    return Service(engine, tmp_path, server, **(marker.kwargs if marker else {}))


def report(what: str, rows: dict[str, Any]) -> None:
    """Print the counts behind a figure; pytest shows them with -s or -rP."""
    print(what, {name: count for name, count in rows.items() if count})


def check_that_nothing_is_lost(service: Service, *results: Result, stopped: bool = False) -> None:
    """Each request was answered, and ran once; at a stop, a few clients get 503."""
    verdicts = service.verdicts(*results, ended_by_itself=stopped)
    report(f"{verdicts.tries} requests:", verdicts.rows())
    assert verdicts.lost() == []
    assert verdicts.run_twice == []
    if stopped:
        assert len(verdicts.never_accepted) <= 1
        assert len(verdicts.turned_away) <= MOST_TURNED_AWAY
    else:
        assert verdicts.counts["ok"] == verdicts.tries
    assert verdicts.counts["ok"] > 50


@pytest.mark.alone
@every_server_at_night
def test_stop_under_load_loses_nothing(service: Service) -> None:
    # Above what a server carries, clients get 503 without a stop, too.
    check_a_stop(service, FAST if service.server is UWSGI else NEW)


@pytest.mark.alone
@every_server_at_night
def test_stop_with_kept_connections_loses_nothing(service: Service) -> None:
    check_a_stop(service, KEPT)


def check_a_stop(service: Service, load: dict[str, Any]) -> None:
    with service.load(**load) as running:
        time.sleep(SETTLE)
        code, took = service.container.stop()
        result = running.finish()
    print(f"stop in {took:.1f} s")
    assert code == 0
    check_that_nothing_is_lost(service, result, stopped=True)


@pytest.mark.alone
def test_stop_under_12000_connections_a_second_turns_away_few(
    engine: Engine, tmp_path: Path
) -> None:
    # nginx alone carries this rate on the CPUs of a small machine, beside the client.
    container = engine.run()
    container.wait_until_serving()
    load = {"mode": "new", "rate": 12_000, "no_echo": True}
    with Load(container, tmp_path / "load.json", "/static/style.css", **load) as running:
        time.sleep(SETTLE)
        code, took = container.stop()
        counts = running.finish().counts
    report(f"stop in {took:.1f} s:", counts)
    assert code == 0
    assert counts["503_retry_after"] <= MOST_TURNED_AWAY
    assert counts["refused"] > 0
    assert counts["ok"] + counts["503_retry_after"] + counts["refused"] == sum(counts.values())


@pytest.mark.timed
@pytest.mark.parametrize(
    ("path", "code", "least", "most", "is_killed"),
    [
        ("/sleep?s=6", 0, 5, 8, True),
        ("/hang", 75, 0, 9, False),
        *at_night(
            ("/sleep?s=6", 0, 5, 8, False),
            ("/hang", 75, 0, 9, True),
            ("/sse", 75, 0, 9, False),
            ("/sse", 75, 0, 9, True),
        ),
    ],
)
def test_stop_waits_for_requests_and_cuts_what_would_never_end(
    service: Service, path: str, code: int, least: float, most: float, is_killed: bool
) -> None:
    with service.load(path, connections=2, requests=2) as running:
        time.sleep(0.5)
        if is_killed:
            service.signal("KILL", *service.processes("nginx master"))
            service.container.wait_for_log("restarting nginx")
        else:
            service.container.shell("ln -s /none/none /run/docker-flask/stopping")
        found, took = service.container.stop()
        result = running.finish()
    report(f"stop in {took:.1f} s:", result.counts)
    assert found == code
    assert took > least
    assert_within(most, took)
    if code:
        assert "2 requests were cut" in service.container.logs()
    else:
        assert result.counts["ok"] == 2


@pytest.mark.timed
def test_a_second_term_stops_at_once(service: Service) -> None:
    with service.load("/hang", connections=1, requests=1):
        time.sleep(0.5)
        service.container.docker.kill("TERM")
        time.sleep(0.3)
        begun = time.monotonic()
        service.container.docker.kill("TERM")
        assert service.container.wait_for_exit(2) == 75
    assert_within(1.0, time.monotonic() - begun)


@pytest.mark.timed
def test_a_term_to_everything_inside_ends_nginx_alone(service: Service) -> None:
    """nginx drops its requests, and is started again; uWSGI's workers run on."""
    workers = service.processes("app worker")
    with service.load(**STEADY) as running:
        time.sleep(SETTLE)
        service.container.execute("bash", "-c", "kill -TERM -1")
        result = running.finish()
    assert result.counts["refused"] == 0
    assert result.counts["ok"] > sum(result.counts.values()) / 2
    if service.server.name == "uWSGI":  # Gunicorn replaces its workers after their last responses
        assert service.processes("app worker") == workers
    assert service.container.get().status_code == 200
    assert service.container.stop()[0] == 0


@pytest.mark.timed
@pytest.mark.service(tty=True, stdin_open=True)
def test_ctrl_c_on_a_terminal_loses_nothing(service: Service) -> None:
    with Keyboard(service.container) as keyboard, service.load(**STEADY) as running:
        time.sleep(SETTLE)
        keyboard.type("\x03")
        assert service.container.wait_for_exit(9) == 0
        result = running.finish()
    check_that_nothing_is_lost(service, result, stopped=True)


@pytest.mark.alone
@pytest.mark.nightly
@pytest.mark.parametrize("load", [STEADY, KEPT], ids=["new", "keepalive"])
def test_ten_reloads_lose_nothing(service: Service, load: dict[str, Any]) -> None:
    old: set[int] = set()
    with service.load(**load) as running:
        time.sleep(SETTLE)
        for number in range(2, 12):
            old.update(service.processes("app master"), service.processes("app worker"))
            service.set_version(str(number))
            service.container.reload()
            assert f"version={number}\n" in service.container.get("/").text
        time.sleep(SETTLE)
        result = running.finish()
    check_that_nothing_is_lost(service, result)

    def old_are_gone() -> bool:
        masters, workers = service.processes("app master"), service.processes("app worker")
        return len(masters) == 1 and len(workers) > 0 and old.isdisjoint(masters + workers)

    wait_for(old_are_gone, 10, "the old generations to go")


@pytest.mark.timed
@every_server
def test_a_reload_loses_nothing(service: Service) -> None:
    slow = {"connections": 2, "requests": 2}
    with service.load(**STEADY) as running, service.load("/sleep?s=4", **slow) as long:
        time.sleep(SETTLE)
        service.set_version("2")
        service.container.docker.kill("HUP")  # by the command: test_https_loss.py
        wait_for(lambda: "version=2\n" in service.container.get("/").text, 20, "the new version")
        time.sleep(SETTLE)
        results = [running.finish(), long.finish()]
    check_that_nothing_is_lost(service, *results)


@pytest.mark.timed
@every_server_at_night
@pytest.mark.service(env={"START_TIMEOUT": "3"})
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(3)\n", "(while|before).*application"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("import time\ntime.sleep(3600)\n", "START_TIMEOUT=3"),
    ],
    ids=["ends", "fails to import", "hangs"],
)
def test_reload_to_broken_code_keeps_the_old(service: Service, code: str, reason: str) -> None:
    with service.load(mode="new", rate=200) as running:
        (service.app / "app.py").write_text(code)
        begun = time.monotonic()
        status, output = service.container.execute("docker-flask", "reload")
        took = time.monotonic() - begun
        time.sleep(0.5)
        result = running.finish()
    assert status == 1
    assert re.search(reason, output)
    assert re.search(reason, service.container.logs())
    assert_within(3 + 3, took)
    assert result.counts["ok"] == sum(result.counts.values())
    assert "version=1\n" in service.container.get("/").text


@pytest.mark.nightly
def test_reload_while_reloading_is_queued(service: Service) -> None:
    with (service.app / "app.py").open("a") as file:
        file.write("\ntime.sleep(1)\n")
    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(service.container.reload) for _ in range(3)]:
            each.result(20)


@pytest.mark.timed
def test_stop_wins_over_reload(service: Service) -> None:
    (service.app / "app.py").write_text("import time\ntime.sleep(60)\n")
    service.container.docker.kill("HUP")
    service.container.wait_for_log("loading a new generation")
    code, took = service.container.stop()
    assert code == 0
    assert_within(2.5, took)


@pytest.mark.timed
@every_server_at_night
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_killed_worker(service: Service, method: str) -> None:
    body: dict[str, Any] = {"body_bytes": 100} if method == "POST" else {}
    kills = 5
    with service.load(mode="new", rate=500, method=method, **body) as running:
        for _ in range(kills):
            time.sleep(0.7)
            before = service.processes("app worker")
            service.signal("KILL", before[0])
            wait_for(
                lambda b=before: len({*service.processes("app worker")} - {b[0]}) == len(b),
                1.5,
                "the worker to be back",
            )
        time.sleep(0.5)
        result = running.finish()
    verdicts = service.verdicts(result)
    report(f"{kills} workers killed, {verdicts.tries} x {method}:", verdicts.rows())
    if method == "GET":
        assert verdicts.counts["ok"] == verdicts.tries
        assert verdicts.most_runs <= 2
    else:
        assert len(verdicts.lost()) <= kills
        assert verdicts.run_twice == []
    assert verdicts.counts["refused"] == 0


@pytest.mark.alone
@pytest.mark.parametrize("title", ["app master", "nginx master", *at_night("nginx worker")])
def test_killed_server(service: Service, title: str) -> None:
    name = {"app master": service.server.name, "nginx worker": "worker process"}.get(title, "nginx")
    with service.load(mode="new", rate=500) as running:
        time.sleep(SETTLE)
        (victim,) = service.processes(title)[:1]
        killed, gone = service.kill(victim)
        time.sleep(2)
        result = running.finish()
    verdicts = service.verdicts(result)
    report(f"{title} killed, {verdicts.tries} requests:", verdicts.rows())
    assert verdicts.counts["refused"] == 0
    assert_within(1.0, result.longest_gap())
    lines = [line for line in service.container.logs().splitlines() if str(victim) in line]
    assert any(name in line and ("SIGKILL" in line or "signal 9" in line) for line in lines)
    assert victim not in service.processes(title)
    # What an nginx worker holds goes with it: requests that had begun, and that were not answered.
    others = [
        one
        for one in result.records
        if one.verdict != Verdict.OK
        and not (title == "nginx worker" and one.end > killed and one.start < gone)
    ]
    assert others == []
    assert service.container.execute("docker-flask", "health") == (0, "")
    assert service.container.stop()[0] == 0


def test_a_server_that_cannot_come_back_ends_the_container(service: Service) -> None:
    (service.app / "app.py").write_text("import nothing_of_that_name\n")
    service.signal("KILL", *service.processes("app master"), *service.processes("app worker"))
    assert service.container.wait_for_exit(10) == 70
    assert "nothing_of_that_name" in service.container.logs().splitlines()[-1]


EXITS = [f"/exit?how={how}&code={code}" for how in ("os", "sys") for code in (0, 1, 22)]


@pytest.mark.service(env={"WEB_CONCURRENCY": "4", "THREADS": "1"})
def test_a_view_that_ends_its_worker(service: Service) -> None:
    results = []
    for path in (*EXITS, "/segfault"):
        with service.load(path, connections=4, requests=4) as running:
            results.append(running.wait(15))
        wait_for(lambda: len(service.processes("app worker")) == 4, 3, f"four workers: {path}")
        assert results[-1].counts["5xx"] == 4, (path, results[-1].counts)
        service.container.wait_until_serving(seconds=3)
    verdicts = service.verdicts(*results)
    report("workers ended:", verdicts.rows())
    assert verdicts.most_runs <= 2


@pytest.mark.timed
@every_server_at_night
@pytest.mark.parametrize("path", ["/hang", *at_night("/loop", "/gilloop")])
@pytest.mark.parametrize("threads", [1, *at_night(4)])
def test_a_view_that_never_answers(
    engine: Engine, tmp_path: Path, server: Server, path: str, threads: int
) -> None:
    if threads > 1 and server.env.get("WORKER_CLASS") in ("sync", "gevent"):
        server.skip("its workers have no threads")
    env = {"WEB_CONCURRENCY": "3", "THREADS": str(threads), "REQUEST_TIMEOUT": "2"}
    service = Service(engine, tmp_path, server, env=env)
    workers = set(service.processes("app worker"))
    # One for each worker but one, however many threads it has.
    with (
        service.load(path, connections=2, requests=2, timeout=10) as stuck,
        service.load(mode="new", rate=50, timeout=10) as healthy,
        service.load(
            method="POST", body_bytes=200_000, mode="new", rate=5, send_delay=1, timeout=10
        ) as slow,
    ):
        stuck_result = stuck.wait(15)
        wait_for(lambda: set(service.processes("app worker")) - workers, 15, "other workers")
        time.sleep(1)
        results = [healthy.finish(), slow.finish()]
    report(f"{path} with {threads} threads:", {str(i): r.counts for i, r in enumerate(results)})
    assert [(r.status, 1 <= r.latency_ms / 1000 <= 3) for r in stuck_result.records] == [
        (504, True)
    ] * 2
    # A C function that keeps the interpreter's lock takes its worker's other threads with it.
    shared = 2 * (threads - 1) if path == "/gilloop" else 0
    for result in results:
        assert sum(result.counts.values()) - result.counts["ok"] <= shared, result.counts
    if path == "/loop":
        assert "in loop" in service.container.logs()


def test_orphaned_grandchildren_leave_no_zombies(service: Service) -> None:
    orphans = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep)' || true"
    for _ in range(5):
        service.container.get("/orphan?s=3")
    assert int(service.container.shell(orphans)) == 5
    wait_for(lambda: int(service.container.shell(orphans)) == 0, 10, "the orphans to be reaped")
