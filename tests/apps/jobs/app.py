import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:////data/jobs.db"
db = SQLAlchemy(app)
Migrate(app, db)


@app.get("/")
def tables() -> str:
    return " ".join(sorted(db.inspect(db.engine).get_table_names()))


@app.cli.command("nightly")
def nightly() -> None:
    print(f"nightly job as {os.getuid()}, {os.environ.get('GREETING')}", flush=True)
