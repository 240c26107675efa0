"""Server-sent events: a chat of ours with Flask-SSE, with Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.support.foreign_apps import Application, Served
from tests.support.harness import NO_TLS, wait_for

APPLICATION = Application("sse", server="redis", env={"REDIS_URL": "redis://redis"})


def hear(url: str, last: str) -> list[str]:
    """What a listener hears, up to this last word."""
    heard: list[str] = []
    with httpx.stream("GET", url, verify=NO_TLS, timeout=30) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        for line in response.iter_lines():
            heard += [line.removeprefix("data:")] if line.startswith("data:") else []
            if heard[-1:] == [last]:
                break
    return heard


def talk(served: Served, listeners: int) -> None:
    """Everybody hears each word, and pages answer meanwhile."""
    words = [*map(str, range(20)), "bye"]
    url = served.container.url("/stream", served.port)
    with ThreadPoolExecutor(listeners) as pool:
        heard = [pool.submit(hear, url, words[-1]) for _ in range(listeners)]
        there = f"{listeners} listen\n"
        wait_for(lambda: served.get("/").text == there, 20, f"{there!r}, every")
        for word in words:
            served.post("/say", data={"text": word})
    assert [each.result() for each in heard] == [words] * listeners
    # A listener that has left is noticed when something is said.
    wait_for(
        lambda: served.post("/say", data={"text": "?"}) and served.get("/").text == "0 listen\n",
        10,
        "listeners that have left",
    )


def listen(served: Served) -> None:
    talk(served, 40)


def check(served: Served) -> None:
    talk(served, 3)
