"""What the application writes: where it lies, who owns it, and what the log says if it can't be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.harness import Container, Derive, Engine

SERVICE_USER = "33 33"
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

    @app.route("/", methods=["GET", "POST"])
    def notes():
        with open_notes() as database:
            if request.method == "POST":
                database.execute("insert into note values (?)", [request.form["text"]])
            rows = database.execute("select text from note").fetchall()
        return [app.config.get("TITLE"), *(text for text, in rows)]

    @app.get("/beside")
    def beside():
        os.mkdir("beside")

    @app.get("/handled")
    def handled():
        try:
            os.symlink("app.py", "copy.py")
        except OSError:
            app.logger.error("no copy")
        return "handled"

    @app.get("/more")
    def more():
        with open(os.path.join(app.instance_path, "visits.txt"), "a") as file:
            file.write("+")
        with open(file.name) as file:
            return file.read()

    return app
"""
# A script beside the application, which the `flask` command knows nothing of.
SCRIPT = "import app\nprint(app.create_app().instance_path)\n"

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


def owners(container: Container, folder: str) -> set[str]:
    _, out = container.execute("find", folder, "-mindepth", "1", "-printf", "%U %G\\n")
    return set(out.splitlines())


def last_line(log: str) -> str:
    """Without a message of nginx, which starts at the same time."""
    return [line for line in log.splitlines() if line and "[notice]" not in line][-1]


# --- Flask's instance folder -----------------------------------------------------------------


@pytest.mark.timeout(200)
def test_an_application_keeps_its_data_in_the_volume(
    engine: Engine, build: Build, volume: Callable[[str], dict[str, Any]]
) -> None:
    """With what the image has in the folder, with `flask`, and when the container is replaced."""
    config = {"instance/config.py": "TITLE = 'old'\n", "instance/visits.txt": "+++"}
    prestart = {"prestart.sh": "export PREPARED=yes; flask routes >/dev/null\n"}
    image = build({"app.py": NOTES, "seed.py": SCRIPT, **config, **prestart})
    container = engine.run(image=image, volumes=volume("/data"))
    container.wait_until_serving("/more")
    assert "uid 33) can't write /app/instance" in container.logs()
    assert container.execute("sh", "-c", "flask init-db") == (0, "yes\n")
    assert container.execute("python", "seed.py", user="33") == (0, "/data/instance\n")
    assert container.get().json() == ["old"]
    answer = httpx.post(container.url(), data={"text": "tea"}, timeout=10)
    assert (answer.status_code, answer.json()) == (200, ["old", "tea"])
    assert container.get("/more").text == "+++++", "of the image, then one for each request"
    assert owners(container, "/data/instance") == {SERVICE_USER}
    assert container.get("/handled").text == "handled"
    log = container.wait_for_log("can't write /app/copy.py")
    assert log.index("no copy") < log.index("can't write /app/copy.py")
    container.docker.remove(force=True)

    # A new image, another kind of container: the data stays, and the configuration is new.
    image = build({"app.py": NOTES, "instance/config.py": "TITLE = 'new'\n"})
    container = engine.run(image=image, volumes=volume("/data"), read_only=True)
    assert container.wait_until_serving().json() == ["new", "tea"]
    assert container.get("/more").text == "++++++"


# --- what can't be written -------------------------------------------------------------------


def advised(log: str, path: str, command: str) -> str:
    """The line for the Dockerfile that the last line of a log contains."""
    line = last_line(log)
    user = "www-data (uid 33)" if "www-data" in line else "uid 12345"
    start = f"docker-flask: the application runs as {user} and can't write {path}; "
    assert line.startswith(f"{start}add to the Dockerfile, after the last COPY: RUN "), line
    found = re.search(
        r"RUN (.*?)(?:, and keep the files with -v NAME:(\S+))? \(docs/data.md\)$", line
    )
    assert found, line
    assert found[1] == command
    assert found[2] in (None, path)
    return f"RUN {found[1]}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("user", "owner"),
    [
        (None, "-o www-data -g www-data"),
        pytest.param("12345", "-o 12345 -g 0", marks=pytest.mark.nightly),
    ],
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
    lines = [advised(container.logs(), "/app/logs", f"install -d {owner} /app/logs")]

    container = engine.run(image=build(files, *lines), **options)
    container.wait_until_serving(status=500)
    log = container.wait_for_log("can't write")
    link = advised(log, "/app/app.db", "ln -sf /data/app.db /app/app.db")
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


@pytest.mark.nightly
def test_a_volume_of_root(
    engine: Engine, build: Build, volume: Callable[[str], dict[str, Any]]
) -> None:
    """A new volume where the image has no folder; the advice is run, and the container starts."""
    image, logs = build({"app.py": BLOG}), volume("/app/logs")
    container = engine.run(image=image, volumes=logs)
    assert container.wait_for_exit() == NOT_SERVING
    line = last_line(container.logs())
    command = "chown -R www-data:www-data /app/logs"
    advice = f"docker run --rm --user root -v VOLUME:/app/logs IMAGE {command} (docs/data.md)"
    assert line.endswith(advice), line
    assert engine.run(command.split(), image=image, user="root", volumes=logs).finish()[0] == 0
    container = engine.run(image=image, volumes=logs)
    assert container.wait_until_serving("/logs").text == "started\nstarted\n"
