"""What the application writes: where it lies, who owns it, and what the log says if it can't be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import DOCKER, Derive, Engine, write_files

NOT_SERVING = 70

# As Flask's tutorial does it.
NOTES = """
import os, sqlite3
from flask import Flask, current_app, request

def open_notes():
    return sqlite3.connect(current_app.config["DATABASE"])

def create_app():
    app = Flask(__name__, instance_relative_config=True)
    app.config.from_mapping(DATABASE=os.path.join(app.instance_path, "notes.sqlite"))
    app.config.from_pyfile("config.py", silent=True)
    try:
        os.makedirs(app.instance_path)
    except OSError:
        pass

    @app.cli.command("init-db")
    def init_db():
        print(os.environ.get("PREPARED"))
        open_notes().execute("create table note (text)")

    @app.cli.command("show")
    def show():
        print(*open_notes().execute("select text from note").fetchone())

    @app.route("/", methods=["GET", "POST"])
    def notes():
        with open_notes() as database:
            if request.method == "POST":
                database.execute("insert into note values (?)", [request.form["text"]])
            rows = database.execute("select text from note").fetchall()
        return [app.config.get("TITLE"), *(text for text, in rows)]

    @app.get("/handled")
    def handled():
        try:
            os.symlink("app.py", "copy.py")
        except OSError:
            app.logger.error("no copy")
        with open(os.path.join(app.instance_path, "visits.txt"), "a+") as file:
            file.write("+")
            file.seek(0)
            return file.read()

    return app
"""
# As Flask-SQLAlchemy does it.
STRICT = """
app = create_app()
os.makedirs(app.instance_path, exist_ok=True)
"""
# As microblog does it: a folder and a database beside the code.
BLOG = """
import os, sqlite3
from flask import Flask

if not os.path.exists("logs"):
    os.mkdir("logs")
with open("logs/blog.log", "a") as file:
    file.write("started\\n")
app = Flask(__name__)

def execute(statement):
    with sqlite3.connect(os.path.join(os.path.dirname(__file__), "app.db")) as database:
        return database.execute(statement).fetchall()

@app.cli.command("upgrade")
def upgrade():
    execute("create table post (text)")

@app.get("/")
def posts():
    return execute("select text from post")

@app.post("/")
def add():
    return execute("insert into post values ('first')")

@app.get("/logs")
def logs():
    with open("logs/blog.log") as file:
        return file.read()
"""

Build = Callable[..., str]


@pytest.fixture
def build(derive: Derive) -> Build:
    """Builds an image on this one, with these files in /app and these lines after them."""

    def build(files: dict[str, str], *lines: str) -> str:
        dockerfile = "\n".join(["FROM THEIRS", "COPY app /app", *lines])
        return derive({"Dockerfile": dockerfile, **{f"app/{name}": files[name] for name in files}})

    return build


@pytest.fixture
def volume(engine: Engine) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Named volumes, as an option of Engine.run: the same volume for the same folder."""
    made: dict[str, Any] = {}

    def mount(folder: str) -> dict[str, Any]:
        made[folder] = made.get(folder) or engine.client.volumes.create()
        return {made[folder].name: {"bind": folder, "mode": "rw"}}

    yield mount
    engine.remove_containers()
    for one in made.values():
        one.remove()


def last_line(log: str) -> str:
    """Without a message of nginx, which starts at the same time."""
    return [line for line in log.splitlines() if line and "[notice]" not in line][-1]


# --- Flask's instance folder -----------------------------------------------------------------


# What the Dockerfile needs if nothing can make the link at the start.
LINK = "RUN ln -s /data/instance /app/instance"


@pytest.mark.timeout(200)
def test_an_application_keeps_its_data_in_the_volume(
    engine: Engine, build: Build, volume: Callable[[str], dict[str, Any]]
) -> None:
    """Also with `flask`, and when the container is replaced."""
    prestart = {"prestart.sh": "export PREPARED=yes; flask routes >/dev/null\n"}
    image = build({"app.py": NOTES, **prestart})
    container = engine.run(image=image, volumes=volume("/data"))
    assert container.wait_until_serving("/handled").text == "+"
    log = container.wait_for_log("no copy")
    assert log.index("can't write /app/copy.py") < log.index("no copy")
    assert container.execute("readlink", "/app/instance") == (0, "/data/instance\n")
    assert container.execute("flask", "init-db") == (0, "yes\n")
    answer = httpx.post(container.url(), data={"text": "tea"}, timeout=10)
    assert (answer.status_code, answer.json()) == (200, [None, "tea"])
    assert container.execute("find", "/data/instance", "!", "-user", "33") == (0, "")
    container.docker.restart(timeout=10)
    assert container.wait_until_serving().json() == [None, "tea"]
    container.docker.remove(force=True)

    # Other kinds of containers: the data stays.
    alone = engine.run(["flask", "show"], image=image, volumes=volume("/data"))
    assert alone.finish()[:2] == (0, "tea\n")
    image = build({"app.py": NOTES}, LINK)
    for options in ({"read_only": True}, {"user": "33"}):
        container = engine.run(image=image, volumes=volume("/data"), **options)
        assert container.wait_until_serving().json() == [None, "tea"]
    assert container.get("/handled").text == "++"


def test_the_log_names_the_link_where_nothing_can_make_it(engine: Engine, build: Build) -> None:
    container = engine.run(image=build({"app.py": NOTES + STRICT}), read_only=True)
    assert container.wait_for_exit() == NOT_SERVING
    advised(container.logs(), "/app/instance", LINK.removeprefix("RUN "))


def test_a_folder_of_the_host_gets_no_link(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text(NOTES)
    container = engine.run(app=app_folder)
    container.wait_until_serving(status=500)
    assert [path.name for path in app_folder.iterdir()] == ["app.py"]


# --- what can't be written -------------------------------------------------------------------


# SQLite does not name its file.
WHAT = "SQLite's database, or its folder does not exist"


def advised(log: str, what: str, command: str, condition: str = "") -> str:
    """The line for the Dockerfile that the last line of a log contains."""
    line = last_line(log)
    user = "12345" if "uid 12345 " in line else "33"
    said = f"the application runs as uid {user} and can't write {what}; {condition}add to"
    assert line.startswith(
        f"docker-flask: {said} the Dockerfile, after the last COPY: RUN {command}"
    ), line
    assert line.endswith(" (docs/data.md)")
    return f"RUN {command}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("user", "owner"),
    [(None, "33"), pytest.param("12345", "12345", marks=pytest.mark.nightly)],
    ids=["default", "any user"],
)
def test_what_the_log_advises_helps(
    engine: Engine,
    build: Build,
    volume: Callable[[str], dict[str, Any]],
    user: str | None,
    owner: str,
) -> None:
    """At the start, at a request and in a command: each line mends what it names."""
    files = {"app.py": BLOG}
    options: dict[str, Any] = {"env": {"WEB_CONCURRENCY": "1"}, **({"user": user} if user else {})}
    container = engine.run(image=build(files), **options)
    assert container.wait_for_exit() == NOT_SERVING
    command = f"mkdir -p /app/logs && chown -R {owner} /app/logs"
    lines = [advised(container.logs(), "/app/logs", command)]

    container = engine.run(image=build(files, *lines), **options)
    container.wait_until_serving(status=500)
    log = container.wait_for_log("can't write")
    link = advised(log, WHAT, "ln -sf /data/app.db /app/app.db", "if it is /app/app.db, ")
    assert container.get().status_code == 500
    assert container.logs().count("can't write") == 1, "once for each path"
    code, out = container.execute("flask", "upgrade")
    assert (code, last_line(out)) == (1, last_line(log))

    lines.append(link)
    options |= {"volumes": {**volume("/data"), **volume("/app/logs")}}
    image = build(files, *lines)
    container = engine.run(image=image, **options)
    container.wait_until_serving(status=500)  # no table
    assert container.execute("flask", "upgrade") == (0, "")
    httpx.post(container.url(), timeout=10)
    container.docker.remove(force=True)

    container = engine.run(image=image, **options)
    assert container.wait_until_serving().json() == [["first"]]
    assert len(container.get("/logs").text.splitlines()) > 2, "also of the first container"
    assert "can't write" not in container.logs()


WRITES_IN_FOLDER = """
import os
from flask import Flask

os.makedirs("/data/up/loads", exist_ok=True)
app = Flask(__name__)

@app.get("/")
def user():
    return str(os.stat("/data/up/loads").st_uid)
"""


@pytest.mark.parametrize(
    "owner",
    ["0", pytest.param("1000", marks=pytest.mark.nightly)],
    ids=["of root", "of a developer"],
)
def test_what_the_log_advises_for_a_mounted_folder_helps(
    engine: Engine, tmp_path: Path, owner: str
) -> None:
    """The line of the log works as it is, also for a path that does not exist."""
    write_files(tmp_path, {"app/app.py": WRITES_IN_FOLDER, "data/old.txt": ""})
    os.chown(tmp_path / "data", int(owner), int(owner))
    data = {str(tmp_path / "data"): {"bind": "/data", "mode": "rw"}}
    options: dict[str, Any] = {"app": tmp_path / "app", "volumes": data}
    container = engine.run(**options)
    assert container.wait_for_exit() == NOT_SERVING
    advice = last_line(container.logs()).removesuffix(" (docs/data.md)")
    if owner == "0":
        advice = advice.partition("change the owner once: ")[2].replace("docker ", f"{DOCKER} ")
        subprocess.run(["sh", "-c", advice], check=True, timeout=60)
        container.docker.start()
        assert container.wait_until_serving().text == "33"
    else:
        assert advice.endswith(
            "/data belongs to uid 1000: start the container with --user 1000:1000"
        )
        container = engine.run(**options, user="1000:1000")
        assert container.wait_until_serving().text == "1000"
