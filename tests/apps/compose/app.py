import os
import time

from flask import Flask, request, url_for
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

time.sleep(float(os.environ.get("LOAD_SECONDS", 0)))
app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"],
    SQLALCHEMY_ENGINE_OPTIONS={"pool_pre_ping": True},
)
db = SQLAlchemy(app)
Migrate(app, db)


class Note(db.Model):
    text = db.Column(db.Text, primary_key=True)


class Tick(db.Model):
    number = db.Column(db.Integer, primary_key=True)
    at = db.Column(db.DateTime(timezone=True), server_default=db.func.now())


@app.get("/")
def client() -> dict[str, str]:
    return {"address": request.remote_addr, "url": url_for("client", _external=True)}


@app.put("/notes/<text>")
def write(text: str) -> str:
    db.session.add(Note(text=text))
    db.session.commit()
    return text


@app.put("/jobs/<text>")
def enqueue(text: str) -> str:
    from tasks import write_note

    write_note.delay(text)
    return text


@app.get("/notes")
def notes() -> list[str]:
    return [note.text for note in Note.query.order_by(Note.text)]


@app.get("/ticks")
def ticks() -> dict[str, float]:
    seconds = db.func.extract("epoch", db.func.now())
    number, now = db.session.query(db.func.count(Tick.number), seconds).one()
    return {"number": number, "now": float(now)}
