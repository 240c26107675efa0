"""What the worker does: `docker-flask run celery -A tasks worker`."""

import os
import tempfile

from celery import Celery

URL = os.environ["REDIS_URL"]
celery = Celery("tasks", broker=URL, backend=URL)
celery.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=2,
    broker_transport_options={"visibility_timeout": 3600},
)


@celery.task
def add(a, b):
    with tempfile.TemporaryFile() as file:  # as a job that makes a PDF does
        file.write(b"%d" % (a + b))
        file.seek(0)
        return int(file.read())
