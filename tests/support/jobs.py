"""Queues of jobs: an image with Celery, RQ and Redis, and a network with Redis in it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from tests.support.harness import (
    APPS,
    IMAGE,
    Container,
    Engine,
    build_image,
    wait_for,
)

CELERY = ["run", "celery", "-A", "tasks", "worker", "--concurrency=2"]
RQ = ["run", "rq", "worker", "--url", "redis://queue:6379/0"]
MIGRATE = "flask db upgrade -d /data/migrations"
MIGRATION = """
import time
import sqlalchemy as sa
from alembic import op

revision, down_revision = "1", None


def upgrade():
    time.sleep(1)
    op.create_table("picture", sa.Column("id", sa.Integer, primary_key=True))
"""


class Worker(NamedTuple):
    """command: behind the image's name; enqueue: Python that puts jobs into the queue."""

    command: list[str]
    enqueue: str
    env: dict[str, str]


DELAY = "for n in numbers: tasks.celery_work.delay(n, seconds)"
WORKERS = {
    "RQ": Worker(
        RQ,
        "import rq; queue = rq.Queue(connection=tasks.record)\n"
        "for n in numbers: queue.enqueue(tasks.work, n, seconds)",
        {},
    ),
    "Celery": Worker(CELERY, DELAY, {"REMAP_SIGTERM": "SIGQUIT"}),
    "Celery, its defaults": Worker(CELERY, DELAY, {}),
}


@functools.cache
def image() -> str:
    """An image built on the one under test; its name."""
    return build_image(f"{IMAGE}:jobs", APPS / "jobs", "--build-arg", f"IMAGE={IMAGE}")


def make_migration() -> list[str]:
    """A command that writes a migration into /data."""
    file = "/data/migrations/versions/1.py"
    return ["run", "sh", "-c", f"flask db init -d /data/migrations && echo '{MIGRATION}' >{file}"]


class Queue:
    """Redis, and containers beside it that reach it by the name `queue`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        command = ["redis-server", "--save", "", "--protected-mode", "no"]
        self.redis = engine.run(command, image=image(), hostname="queue", ports={})
        wait_for(lambda: self.ask("PING") == "PONG", 10, "Redis")
        self.redis.docker.reload()

    def ask(self, *words: str) -> str:
        """Redis' answer."""
        return self.redis.execute("redis-cli", *words)[1].strip()

    def run(self, command: list[str], **options: object) -> Container:
        """Start a container beside Redis."""
        address = self.redis.docker.attrs["NetworkSettings"]["IPAddress"]
        hosts = {"extra_hosts": {"queue": address}, "ports": {}}
        return self.engine.run(command, image=image(), **{**hosts, **options})  # type: ignore[arg-type]

    def start(self, worker: Worker) -> Container:
        """Start a worker."""
        return self.run(worker.command, env=worker.env)

    def enqueue(self, worker: Worker, numbers: range, seconds: float = 0.0) -> None:
        """Put jobs into the queue."""
        script = f"import tasks\nnumbers, seconds = {numbers!r}, {seconds}\n{worker.enqueue}"
        code, output, error = self.run(["run", "python", "-c", script]).finish(60)
        assert code == 0, output + error

    def counts(self, name: str) -> dict[int, int]:
        """How often each job has begun, or is done."""
        lines = self.ask("HGETALL", name).split()
        return {int(n): int(times) for n, times in zip(lines[::2], lines[1::2], strict=True)}
