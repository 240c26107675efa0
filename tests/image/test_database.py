"""Pools of a database in the wide server: what docs/deploying.md says, with a real PostgreSQL."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.harness import Container, Engine, image_with, wait_for, write_files
from tests.support.loss import Load
from tests.support.stand_ins import stand_in

# With the build of two images.
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]

PACKAGES = "flask-sqlalchemy==3.1.1", "psycopg[binary,pool]==3.3.9"
# What PostgreSQL accepts by default from a role without privileges.
MOST = 97
APP = """
import json, os
from flask import Flask

app = Flask(__name__)
url, options = os.environ["DATABASE_URL"], json.loads(os.environ["POOL"])
QUERY = "select pg_sleep(0.05)"
if os.environ["KIND"] == "sqlalchemy":
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy import text
    app.config["SQLALCHEMY_DATABASE_URI"] = url.replace("postgresql:", "postgresql+psycopg:")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    db = SQLAlchemy(app)

    def query():
        db.session.execute(text(QUERY))
elif os.environ["KIND"] == "psycopg_pool":
    from psycopg_pool import ConnectionPool
    pool = ConnectionPool(url, open=True, **options)

    def query():
        with pool.connection() as connection:
            connection.execute(QUERY)
else:
    import psycopg

    def query():
        with psycopg.connect(url) as connection:
            connection.execute(QUERY)

@app.route("/")
def page():
    return "hello"

@app.route("/query")
def view():
    query()
    return "done"
"""


class Case(NamedTuple):
    """pool: options of the pool. most: connections at the same time. threads: THREADS."""

    kind: str
    pool: dict[str, int]
    most: int
    threads: str = ""


class Database:
    """PostgreSQL with its defaults, and a role for the application."""

    def __init__(self, engine: Engine) -> None:
        env = {"POSTGRES_USER": "admin", "POSTGRES_PASSWORD": "admin"}  # pragma: allowlist secret
        image = stand_in("postgres")
        self.container = engine.run([], image=image, env=env, user="postgres", ports={})
        ready = ("pg_isready", "-h", "127.0.0.1", "-U", "admin")
        wait_for(lambda: self.container.execute(*ready)[0] == 0, 30, "PostgreSQL")
        self.ask("create role app login password 'app'")
        self.ask("create database app owner app")
        self.container.docker.reload()
        address = self.container.docker.attrs["NetworkSettings"]["IPAddress"]
        self.url = f"postgresql://app:app@{address}/app"  # pragma: allowlist secret

    def ask(self, query: str) -> str:
        code, output = self.container.execute("psql", "-U", "admin", "-tAc", query)
        assert code == 0, output
        return output.strip()

    def connections(self) -> int:
        """Those that the application has now: PostgreSQL has a process for each."""
        rows = self.container.docker.top(ps_args="axno pid,args")["Processes"]
        return sum(line.startswith("postgres: app app ") for _, line in rows)


@pytest.fixture(scope="module")
def database(module_engine: Engine) -> Database:
    return Database(module_engine)


@pytest.mark.parametrize(
    "case",
    [
        # The defaults: two narrow workers with a connection each, and two pools of 15.
        Case("sqlalchemy", {}, 2 + 2 * 15),
        Case("psycopg_pool", {}, 4 * 4),
        # As docs/deploying.md says.
        Case("sqlalchemy", {"pool_size": 20, "max_overflow": 0}, 2 + 2 * 20),
        # If the first request waits for the first connection, this pool opens another one.
        Case("psycopg_pool", {"min_size": 1, "max_size": 20}, 2 * 2 + 2 * 20),
        # PostgreSQL is still closing some of them.
        Case("none", {}, 4 * 8 + 16, threads="8"),
    ],
    ids=str,
)
def test_256_clients(
    engine: Engine, app_folder: Path, tmp_path: Path, database: Database, case: Case
) -> None:
    """In a reload, two generations have connections."""
    container = serve(engine, app_folder, database, case)
    seen = []
    with burst(container, tmp_path) as load:
        if not case.threads:
            container.wait_for_log("starting 2 workers of 128 threads in addition", 10)
        seen += watch(database, 6)
        assert max(seen) <= case.most
        container.reload()
        seen += watch(database, 6)
        result = load.finish(90)
    print(f"{case}: up to {max(seen)} connections, {result.counts}, {result.percentile(99)} ms")
    assert max(seen) <= min(2 * case.most, MOST)
    assert result.counts["ok"] == sum(result.counts.values()) > 100


def test_a_connection_for_each_thread_is_too_many(
    engine: Engine, app_folder: Path, tmp_path: Path, database: Database
) -> None:
    container = serve(engine, app_folder, database, Case("none", {}, MOST))
    with burst(container, tmp_path) as load:
        container.wait_for_log("connection slots are reserved", 20)
        result = load.finish(90)
    assert result.counts["5xx"]


def serve(engine: Engine, folder: Path, database: Database, case: Case) -> Container:
    return engine.serve(
        image=image_with(*PACKAGES),
        app=write_files(folder, {"app.py": APP}),
        nano_cpus=2_000_000_000,
        env={
            "KIND": case.kind,
            "POOL": json.dumps(case.pool),
            "DATABASE_URL": database.url,
            "THREADS": case.threads,
        },
    )


def burst(container: Container, folder: Path) -> Load:
    """256 clients that wait for their responses for as long as nginx does."""
    options = {"connections": 256, "seconds": 60, "timeout": 60, "no_echo": True}
    return Load(container, folder / "load.json", "/query", **options)


def watch(database: Database, seconds: float) -> list[int]:
    """The numbers of connections during some seconds."""
    end, seen = time.monotonic() + seconds, []
    while time.monotonic() < end:
        seen.append(database.connections())
        time.sleep(0.1)
    return seen
