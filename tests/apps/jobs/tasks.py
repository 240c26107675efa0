"""Jobs of Celery and of RQ that note in Redis that they have begun, and that they are done."""

import os
import random
import time

from celery import Celery
from celery.schedules import crontab
from redis import Redis

URL = os.environ.get("REDIS_URL", "redis://queue:6379/0")
celery = Celery("tasks", broker=URL)
celery.conf.beat_schedule = {
    "often": {"task": "tasks.tick", "schedule": 1.0},
    "nightly": {"task": "tasks.tick", "schedule": crontab(hour=3, minute=0)},
}
if "REMAP_SIGTERM" in os.environ:  # as docs/data.md says
    celery.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=2.0,
        broker_transport_options={"visibility_timeout": 20},
    )
record = Redis.from_url(URL)


def work(number: int, seconds: float = 0.0) -> None:
    """A job that takes some time, without a result."""
    record.hincrby("begun", number)
    time.sleep(seconds or random.uniform(0, 0.1))
    record.hincrby("done", number)


@celery.task
def celery_work(number: int, seconds: float = 0.0) -> None:
    work(number, seconds)


@celery.task
def tick() -> None:
    record.incr("ticks")
