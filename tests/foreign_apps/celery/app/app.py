"""A page that gives a job to Celery, and one that shows its result."""

from celery.result import AsyncResult
from flask import Flask
from tasks import add, celery

app = Flask(__name__)


@app.get("/")
def page():
    return "Sums\n"


@app.post("/sums/<int:a>/<int:b>")
def start(a, b):
    return {"id": add.delay(a, b).id}, 202


@app.get("/sums/<id>")
def result(id):
    job = AsyncResult(id, app=celery)
    return {"ready": job.ready(), "value": job.result if job.successful() else None}
