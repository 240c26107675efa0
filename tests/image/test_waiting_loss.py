"""Nothing is lost while requests wait in a wide server: the rows of test_loss.py beside it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Engine, wait_for
from tests.support.loss import Service
from tests.support.loss_checker.result import Result, Verdict
from tests.support.marks import at_night

STARTING = "threads in addition"
# Requests that keep the wide server, and those that it must not disturb. Each has a connection.
WAITING: dict[str, Any] = {"mode": "new", "connections": 40, "seconds": 600}
QUICK: dict[str, Any] = {"mode": "new", "rate": 60, "seconds": 600}
SETTLE = 1.5  # s of load before and after what is done
# Prints the workers of a server, and how many threads each has.
WORKERS = (
    "for pid in $(cat /proc/{0}/task/{0}/children 2>/dev/null); do "
    "set -- /proc/$pid/task/*; echo $pid $#; done"
)


def servers(service: Service) -> dict[str, list[int]]:
    """The processes of each server, the first one first; only workers that serve."""
    found: dict[str, list[int]] = {}
    for master in service.processes("app master"):
        for line in service.container.shell(WORKERS.format(master)).splitlines():
            pid, threads = map(int, line.split())
            found.setdefault("wide" if threads > 16 else "narrow", [master]).append(pid)
    return found


def wait_for_servers(service: Service) -> dict[str, list[int]]:
    """Wait until both servers have their workers."""

    def look() -> dict[str, list[int]] | None:
        found = servers(service)
        return found if sorted(map(len, found.values())) == [3, 3] else None

    found = wait_for(look, 20, "both servers")
    time.sleep(SETTLE)
    return found


@contextlib.contextmanager
def under_load(service: Service, method: str, path: str = "/sleep?s=0.2") -> Iterator[list[Result]]:
    """Keep a wide server up by requests that wait; afterwards, the results are there."""
    results: list[Result] = []
    with (
        service.load(path, method=method, **WAITING) as waiting,
        service.load("/", method=method, **QUICK) as quick,
    ):
        wait_for_servers(service)
        yield results
        results += [waiting.finish(), quick.finish()]


def check_that_nothing_is_lost(
    service: Service, results: list[Result], runs: int = 1, stopped: bool = False
) -> None:
    """Each request was answered; runs: how often one may have run."""
    verdicts = service.verdicts(*results, ended_by_itself=stopped)
    print({name: count for name, count in verdicts.rows().items() if count})
    assert verdicts.lost() == []
    assert verdicts.most_runs <= runs
    if not stopped:
        assert verdicts.counts["ok"] == verdicts.tries
    assert verdicts.counts["ok"] > 200


@pytest.mark.timed
@pytest.mark.timeout(120)
def test_reloads_and_a_stop(engine: Engine, tmp_path: Path) -> None:
    service = Service(engine, tmp_path)
    with under_load(service, "POST") as results:
        for version in ("2", "3"):
            old = set(service.processes("app master"))
            service.set_version(version)
            service.container.reload()
            # The new generation begins with a wide server, because the old one had one.
            assert len(set(service.processes("app master")) - old) == 2
            wait_for(lambda o=old: not o & set(service.processes("app master")), 20, "the end")
            wait_for_servers(service)
        assert service.container.stop()[0] == 0
    check_that_nothing_is_lost(service, results, stopped=True)
    assert "next try" not in service.container.logs()


def kill(service: Service, title: str) -> tuple[float, float]:
    """Kill a process, and wait until another one is there; returns when it ended."""
    kind, _, role = title.partition(" ")
    if kind == "nginx":
        pid = service.processes(title)[0]
    else:
        pid = servers(service)[kind][role == "worker"]
    starts = service.container.logs().count(STARTING)
    moments = service.kill(pid)
    if title == "wide server":  # after a pause
        wait_for(lambda: service.container.logs().count(STARTING) > starts, 15, "another one")
    wait_for_servers(service)
    return moments


@pytest.mark.timed
@pytest.mark.timeout(120)
@pytest.mark.parametrize("method", ["GET", *at_night("POST")])
def test_killed_processes(engine: Engine, tmp_path: Path, method: str) -> None:
    """nginx tries GET requests again; a POST is lost with the process that has it, and no other."""
    service = Service(engine, tmp_path)
    titles = [
        "narrow worker",
        "wide worker",
        "narrow server",
        "wide server",
        "nginx master",
        "nginx worker",
    ]
    moments = {}
    with under_load(service, method) as results:
        for title in titles:
            moments[title] = kill(service, title)
    verdicts = service.verdicts(*results)
    failed = [one for one in verdicts.lost() + verdicts.unsent if one.verdict != Verdict.OK]
    print({name: count for name, count in verdicts.rows().items() if count}, moments)
    # What an nginx worker holds goes with it. Of POST requests, also what a killed server has.
    mortal = [] if method == "GET" else ["narrow worker", "wide worker", "wide server"]
    for title in ["nginx worker", *mortal]:
        begun, gone = moments[title]
        failed = [one for one in failed if one.end < begun or one.start > gone + 0.1]
    assert failed == []
    assert verdicts.counts["refused"] == 0
    if method == "POST":
        assert verdicts.run_twice == []
    log = service.container.logs()
    assert "was killed by SIGKILL; the other workers keep serving, next try after 5 seconds" in log
    assert "disconnected" not in log


@pytest.mark.nightly
@pytest.mark.timed
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("env", "path", "reason"),
    [
        ({"MAX_REQUESTS": "300"}, "/sleep?s=0.2", "its share of MAX_REQUESTS=300"),
        ({"MAX_WORKER_MEMORY": "60m"}, "/leak?mb=1", "more than MAX_WORKER_MEMORY=60m"),
        ({"MAX_REQUESTS": "300", "PRELOAD": "1"}, "/sleep?s=0.2", "its share of MAX_REQUESTS"),
    ],
    ids=str,
)
def test_workers_that_are_replaced(
    engine: Engine, tmp_path: Path, env: dict[str, str], path: str, reason: str
) -> None:
    service = Service(engine, tmp_path, env=env)
    with under_load(service, "POST") as results:
        with service.load(path, method="POST", mode="new", rate=40, seconds=8) as load:
            results.append(load.wait(30))
        assert service.container.logs().count(reason) > 4
    check_that_nothing_is_lost(service, results)


def a_burst(service: Service) -> Result:
    options: dict[str, Any] = {"mode": "new", "method": "POST", "connections": 64, "requests": 300}
    with service.load("/sleep?s=0.2", **options) as load:
        return load.wait(30)


@pytest.mark.nightly
@pytest.mark.timeout(240)
def test_bursts_that_come_and_go(engine: Engine, tmp_path: Path) -> None:
    """A burst each 10 s keeps the wide server, also over a reload."""
    service = Service(engine, tmp_path)
    results = []
    with service.load("/", method="POST", **QUICK) as quick:
        for number in range(6):
            begun = time.monotonic()
            results.append(a_burst(service))
            if number == 2:
                service.container.reload()
            time.sleep(max(0.0, begun + 10 - time.monotonic()))
        assert "end after their last response" not in service.container.logs()
        wait_for(lambda: len(service.processes("app master")) == 1, 60, "the end of the wide one")
        results += [a_burst(service), quick.finish()]
    check_that_nothing_is_lost(service, results)
