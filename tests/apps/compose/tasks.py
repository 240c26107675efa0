import os

from celery import Celery

from app import Note, Tick, db
from app import app as flask_app  # Celery takes what is called `app` for its own

PERIOD = 2.0

celery = Celery("tasks", broker=os.environ["CELERY_BROKER_URL"])
celery.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=5,
    broker_transport_options={"visibility_timeout": 3600},
    beat_schedule={"tick": {"task": "tasks.tick", "schedule": PERIOD}},
)


@celery.task
def write_note(text: str) -> None:
    with flask_app.app_context():
        db.session.add(Note(text=text))
        db.session.commit()


@celery.task
def tick() -> None:
    with flask_app.app_context():
        db.session.add(Tick())
        db.session.commit()
