"""Celery: a page and a worker of ours, with Redis, in containers that can write nothing."""

from __future__ import annotations

from typing import Any

from tests.support.foreign_apps import Application, Served
from tests.support.harness import wait_for

APPLICATION = Application(
    "celery",
    server="redis",
    beside=("run", "celery", "-A", "tasks", "worker", "--concurrency=2"),
    env={"REDIS_URL": "redis://redis", "REMAP_SIGTERM": "SIGQUIT"},
    options={"read_only": True, "cap_drop": ["ALL"], "user": "33:33"},
)


def result(served: Served, job: str) -> Any:
    """What the worker has returned."""
    path = f"/sums/{job}"
    wait_for(lambda: served.get(path).json()["ready"], 30, "a job", every=0.2)
    return served.get(path).json()["value"]


def write(served: Served) -> None:
    """Jobs that the worker does."""
    jobs = [served.post(f"/sums/{n}/1", 202).json()["id"] for n in range(10)]
    assert [result(served, job) for job in jobs] == list(range(1, 11))


def check(served: Served) -> None:
    write(served)
