"""How many workers and threads: by the settings, the limits and the memory of a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docker_flask.plan import workers
from docker_flask.plan.plan import Plan
from docker_flask.plan.workers import Workers
from tests.support import plans

MIB, GIB = 1 << 20, 1 << 30


def plan(environ: dict[str, str], memory: int = 0) -> Plan:
    return plans.make(plans.LIMITS, memory, **environ)


def numbers(found: Workers) -> tuple[int, int, int, int]:
    return found.count, found.threads, found.wide_count, found.wide_threads


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (2, 1, 2, 128)),
        # The user says the threads, or that there are none.
        ({"THREADS": "1"}, (4, 1, 0, 0)),
        ({"THREADS": "8"}, (4, 8, 0, 0)),
        ({"WORKER_CLASS": "sync"}, (4, 1, 0, 0)),
        ({"THREADS": "8", "WEB_CONCURRENCY": "3"}, (3, 8, 0, 0)),
        ({"THREADS": "8", "UWSGI_CHEAPER": "3"}, (3, 8, 0, 0)),
        # WEB_CONCURRENCY bounds the processes of both servers.
        ({"WEB_CONCURRENCY": "1"}, (1, 16, 0, 0)),
        ({"WEB_CONCURRENCY": "2"}, (2, 16, 0, 0)),
        ({"WEB_CONCURRENCY": "3"}, (2, 1, 1, 128)),
        ({"WEB_CONCURRENCY": "8"}, (6, 1, 2, 128)),
        ({"WEB_CONCURRENCY": "8", "UWSGI_CHEAPER": "2"}, (2, 1, 2, 128)),
        ({"UWSGI_CHEAPER": "5"}, (5, 1, 2, 128)),
        ({"UWSGI_CHEAPER": "0"}, (2, 1, 2, 128)),
        # Other servers have one number from the start.
        ({"APP_SERVER": "gunicorn"}, (4, 64, 0, 0)),
        ({"APP_SERVER": "gunicorn", "WEB_CONCURRENCY": "2"}, (2, 128, 0, 0)),
        ({"APP_SERVER": "gunicorn", "WORKER_CLASS": "gthread"}, (4, 64, 0, 0)),
        ({"WORKER_CLASS": "gevent"}, (4, 1, 0, 0)),
    ],
)
def test_settings(environ: dict[str, str], expected: tuple[int, int, int, int]) -> None:
    assert numbers(plan(environ).workers) == expected


@pytest.mark.parametrize(
    ("limits", "memory", "expected"),
    [
        ({"cpus": 0.5}, 0, (2, 1, 1, 128)),
        ({"cpus": 2.5}, 0, (3, 1, 3, 128)),
        ({"cpus": 32.0, "memory": 64 * GIB}, 0, (32, 1, 8, 128)),
        # Half of the memory, at what a worker takes.
        ({"memory": 512 * MIB}, 308 * MIB, (1, 16, 0, 0)),
        ({"memory": GIB}, 308 * MIB, (1, 16, 0, 0)),
        ({"memory": 2 * GIB}, 308 * MIB, (2, 1, 1, 128)),
        ({"memory": 256 * MIB}, 10 * MIB, (2, 1, 2, 128)),
        ({"memory": 96 * MIB}, 8 * MIB, (2, 1, 2, 64)),
        ({"memory": 64 * MIB}, 8 * MIB, (2, 1, 1, 64)),
        ({"memory": 32 * MIB}, 8 * MIB, (2, 16, 0, 0)),
        # A thread counts as a process, and a reload doubles all.
        ({"processes": 400}, 0, (2, 1, 2, 93)),
        ({"processes": 100}, 0, (2, 1, 2, 18)),
        ({"processes": 50}, 0, (2, 8, 0, 0)),
        ({"processes": 12}, 0, (1, 1, 0, 0)),
        ({"descriptors": 64}, 0, (2, 1, 2, 16)),
    ],
)
def test_limits(limits: dict[str, Any], memory: int, expected: tuple[int, int, int, int]) -> None:
    assert numbers(plans.make(replace(plans.LIMITS, **limits), memory).workers) == expected


def test_one_server_if_it_starts_jobs_of_its_own() -> None:
    made = plans.make()
    why = "one server because of cron in /app/uwsgi.ini"
    found = workers.decide(made.settings, made.origins, made.limits, only_one_server=why)
    assert found.describe() == f"2 workers of 16 threads (cgroup quota of 2 CPUs, {why})"


@pytest.mark.parametrize(
    ("memory", "environ", "words"),
    [
        (0, {}, "2 workers (cgroup quota of 2 CPUs); 256 more requests at once while they wait"),
        (0, {"WEB_CONCURRENCY": "1"}, "1 worker of 16 threads (WEB_CONCURRENCY)"),
        (0, {"THREADS": "1", "WEB_CONCURRENCY": "1"}, "1 worker (WEB_CONCURRENCY)"),
        (
            5 * GIB,
            {},
            "1 worker of 16 threads (half of the cgroup limit of 8192 MiB at 5120 MiB a worker)",
        ),
    ],
)
def test_words(memory: int, environ: dict[str, str], words: str) -> None:
    assert plan(environ, memory).workers.describe() == words


def test_the_settings_say_what_was_decided() -> None:
    rows = {name: (value, origin) for name, value, origin in plans.make(THREADS="").rows()}
    assert rows["WEB_CONCURRENCY"] == ("4", "decided: cgroup quota of 2 CPUs")
    assert rows["UWSGI_CHEAPER"] == ("2", "decided: cgroup quota of 2 CPUs")
    assert rows["THREADS"] == ("1", "decided: cgroup quota of 2 CPUs")
