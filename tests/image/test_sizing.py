"""Workers by default: more under load that waits, fewer after, within the memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.harness import Container, Engine, wait_for
from tests.support.loss import Service


def workers(container: Container) -> set[int]:
    """Their pids."""
    return set(container.pids("uWSGI worker"))


def wait_for_workers(container: Container, count: int, seconds: float) -> None:
    wait_for(lambda: len(workers(container)) == count, seconds, f"{count} workers")


@pytest.mark.alone
@pytest.mark.nightly  # a minute
@pytest.mark.timeout(300)
@pytest.mark.parametrize("threads", [1, 4])
def test_more_workers_while_requests_wait_and_fewer_after(
    engine: Engine, tmp_path: Path, threads: int
) -> None:
    """Each step under load, as none may cost a request."""
    service = Service(engine, tmp_path, env={"THREADS": str(threads)}, nano_cpus=500_000_000)
    wait_for_workers(service.container, 2, 10)
    assert "docker-flask: 2 to 16 workers " in service.container.logs()
    with service.load(
        f"/sleep?s={threads / 2}", mode="keepalive", connections=24 * threads
    ) as waiting:
        wait_for_workers(service.container, 16, 60)
        slow = waiting.finish()
    with service.load("/", mode="new", rate=100, seconds=90, method="POST") as quick:
        wait_for_workers(service.container, 2, 80)
        time.sleep(1)
        result = quick.finish()
    verdicts = service.verdicts(slow, result)
    assert verdicts.lost() == []
    assert verdicts.run_twice == []
    assert result.counts["ok"] == sum(result.counts.values()) > 100


@pytest.mark.alone
@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_idle_workers_leave_at_once(engine: Engine, tmp_path: Path) -> None:
    """uWSGI removes a worker without waking its threads, and kills it after a minute."""
    service = Service(engine, tmp_path, nano_cpus=1_000_000_000)
    with service.load("/sleep?s=1", mode="keepalive", connections=64) as waiting:
        wait_for(lambda: len(workers(service.container)) > 2, 30, "more workers")
        slow = waiting.finish()
    wait_for_workers(service.container, 2, 50)  # no request comes, so no thread wakes
    assert service.verdicts(slow).lost() == []


@pytest.mark.timed
@pytest.mark.timeout(200)
def test_workers_by_default(engine: Engine, tmp_path: Path) -> None:
    """Neither new workers nor a reload or a stop costs a request.

    Work alone makes no more workers: unit/test_worker_pool.py.
    """
    service = Service(engine, tmp_path, nano_cpus=500_000_000)
    line = "docker-flask: 2 to 16 workers (cgroup quota of 0.5 CPUs)"
    assert line in service.container.logs().splitlines()
    wait_for_workers(service.container, 2, 10)
    with service.load("/sleep?s=0.5", mode="new", connections=24) as running:
        wait_for(lambda: len(workers(service.container)) > 2, 20, "more workers")
        old = workers(service.container)
        service.container.reload()
        wait_for(lambda: not old & workers(service.container), 30, "the old to go")
        time.sleep(1)
        code, _ = service.container.stop()
        result = running.finish()
    verdicts = service.verdicts(result, ended_by_itself=True)
    assert (code, verdicts.lost(), verdicts.run_twice) == (0, [], [])
    assert verdicts.counts["ok"] > 50
