"""A model in memory, of which the container's limit holds one and, during a reload, another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.foreign_apps import Application, Served
from tests.support.harness import wait_for

APPLICATION = Application("model", options={"mem_limit": "512m"})


def wait(served: Served) -> None:
    """More requests than there are workers: each waits for its turn, and is answered."""
    if served.mode == "production":
        wait_for(lambda: len(served.container.pids("uWSGI worker")) == 1, 10, "one worker")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(served.get, [f"/neighbours/{word}" for word in range(100)]))
    assert [answer.json()["nearest"] for answer in answers] == list(range(100))


def check(served: Served) -> None:
    wait(served)
