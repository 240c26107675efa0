"""What runs was decided once: an edit counts from the next reload on, not from the next crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.harness import Container, Engine, wait_for
from tests.support.servers import SERVERS

APP = """
import os, sys, time
from flask import Flask, make_response, send_file

{at_import}
app = Flask(__name__)

@app.get("/")
def hello():
    return os.environ.get("HOOK", "hello")

@app.get("/file")
def file():
    return send_file("/app/app.py")

@app.get("/page")
def page():
    response = make_response(str(time.monotonic_ns()))
    response.headers["Cache-Control"] = "public, max-age=60"
    return response

@app.get("/worker")
def worker():
    return str(os.getpid())

@app.get("/slow")
def slow():
    time.sleep(2)
    return "slow"
"""
MASTER, WORKER = SERVERS["uwsgi"].master, SERVERS["uwsgi"].worker


def write(folder: Path, at_import: str = "") -> None:
    (folder / "app.py").write_text(APP.format(at_import=at_import))


@pytest.fixture
def app(app_folder: Path) -> Path:
    write(app_folder)
    return app_folder


@pytest.fixture
def snippets(tmp_path: Path) -> Path:
    folder = tmp_path / "server.d"
    folder.mkdir(mode=0o755)
    (folder / "mine.conf").write_text("add_header X-Mine before always;\n")
    return folder


def pids(container: Container, name: str) -> set[str]:
    """Processes whose command line begins like this, as the container numbers them."""
    program = (
        "import glob, sys\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try:\n"
        "        text = open(path).read().replace('\\0', ' ')\n"
        "    except OSError:\n"
        "        continue\n"
        "    if text.startswith(sys.argv[1]): print(path.split('/')[2])\n"
    )
    return set(container.execute("python3", "-c", program, name)[1].split())


def crash(container: Container, name: str) -> None:
    """Kill the first processes of this name, and wait until others have taken their place."""
    before = pids(container, name)
    assert before, f"no process is called {name!r}"
    assert container.execute("bash", "-c", f"kill -9 {' '.join(before)}")[0] == 0
    wait_for(lambda: pids(container, name) - before, 10, f"another {name}")
    container.wait_until_serving()


def answers(container: Container, path: str, seconds: float = 10) -> httpx.Response:
    def look() -> httpx.Response | None:
        answer = container.get(path)
        return answer if answer.status_code == 200 else None

    return wait_for(look, seconds, f"200 at {path}")


def test_nginx_that_crashed_starts_with_the_snippets_that_it_had(
    engine: Engine, app: Path, snippets: Path
) -> None:
    volumes = {str(snippets): {"bind": "/etc/nginx/server.d", "mode": "rw"}}
    container = engine.run(app=app, volumes=volumes)
    container.wait_until_serving()
    (snippets / "mine.conf").write_text("add_header X-Mine after always;\n")
    crash(container, "nginx: master")
    assert container.get().headers["X-Mine"] == "before"
    assert container.execute("docker-flask", "reload")[0] == 0
    wait_for(lambda: container.get().headers["X-Mine"] == "after", 10, "the edited snippet")


def test_nginx_that_crashed_after_a_broken_edit_starts(
    engine: Engine, app: Path, snippets: Path
) -> None:
    volumes = {str(snippets): {"bind": "/etc/nginx/server.d", "mode": "rw"}}
    container = engine.run(app=app, volumes=volumes)
    container.wait_until_serving()
    (snippets / "mine.conf").write_text("no_such_directive;\n")
    crash(container, "nginx: master")
    assert container.get().headers["X-Mine"] == "before"
    code, words = container.execute("docker-flask", "reload")
    assert code == 1
    assert "/etc/nginx/server.d/mine.conf:1" in words


@pytest.mark.nightly
def test_gunicorn_that_crashed_starts_with_the_options_that_it_had(
    engine: Engine, app: Path
) -> None:
    file = app / "gunicorn.conf.py"
    file.write_text("import os\nos.environ['HOOK'] = 'before ' + os.path.basename(__file__)\n")
    server = SERVERS["gunicorn-gevent"]
    container = engine.run(server=server, app=app)
    assert container.wait_until_serving().text == "before gunicorn.conf.py"
    file.write_text("import os\nos.environ['HOOK'] = 'after'\n")
    crash(container, server.master)
    assert answers(container, "/").text == "before gunicorn.conf.py"
    assert container.execute("docker-flask", "reload")[0] == 0
    wait_for(lambda: container.get().text == "after", 10, "the edited options")


def test_a_server_that_crashed_still_agrees_with_nginx(
    engine: Engine, app: Path, tmp_path: Path
) -> None:
    """A snippet that turns off the cache has no effect before nginx has taken it up."""
    folder = tmp_path / "conf.d"
    folder.mkdir(mode=0o755)
    container = engine.run(
        app=app, volumes={str(folder): {"bind": "/etc/nginx/conf.d", "mode": "rw"}}
    )
    container.wait_until_serving()
    wait_for(lambda: len({container.get("/page").text for _ in range(2)}) == 1, 10, "a cached page")
    (folder / "mine.conf").write_text(
        "server { listen 8080; location / { uwsgi_pass unix:///tmp/uwsgi.sock; } }\n"
        "uwsgi_no_cache 1;\n"
    )
    crash(container, MASTER)
    wait_for(lambda: len({answers(container, "/page").text for _ in range(2)}) == 1, 10, "the same")
    assert container.get("/file").text == (app / "app.py").read_text()


def test_a_reload_that_fails_changes_nothing(engine: Engine, app: Path) -> None:
    """Not the number of workers, nor the words for it, nor what a crash brings back."""
    (app / "uwsgi.ini").write_text("[uwsgi]\nprocesses = 2\n")
    container = engine.run(app=app)
    container.wait_until_serving()
    wait_for(lambda: len(pids(container, WORKER)) == 2, 10, "two workers")
    (app / "uwsgi.ini").write_text("[uwsgi]\nprocesses = 5\n")
    write(app, "raise RuntimeError('broken')")
    code, words = container.execute("docker-flask", "reload")
    assert code == 1
    assert "reload failed, keeping the previous generation" in words
    write(app)
    crash(container, MASTER)
    wait_for(lambda: len(pids(container, WORKER)) == 2, 10, "two workers again")


def begin_reload(container: Container, app: Path, seconds: int) -> None:
    """Begin a reload of an application that loads for so long, and wait until it does."""
    write(app, f"print('loading for long', flush=True)\ntime.sleep({seconds})")
    container.docker.kill("HUP")
    container.wait_for_log("loading for long")


def test_a_death_is_answered_while_a_reload_loads(engine: Engine, app: Path) -> None:
    container = engine.run(app=app)
    container.wait_until_serving()
    begin_reload(container, app, 20)
    crash(container, "nginx: master")
    log = container.logs()
    assert log.count("serving app:app") == 1, "the reload had ended, which shows nothing"


@pytest.mark.nightly
def test_workers_are_added_while_a_reload_loads(engine: Engine, app: Path) -> None:
    env = {"UWSGI_CHEAPER": "2", "THREADS": "1"}
    container = engine.run(app=app, env=env)
    container.wait_until_serving()
    begin_reload(container, app, 20)
    before = pids(container, WORKER)
    with ThreadPoolExecutor(16) as pool:
        slow = [pool.submit(container.get, "/slow", timeout=30) for _ in range(16)]
        wait_for(lambda: len(pids(container, WORKER)) > len(before), 15, "more workers")
        assert container.logs().count("serving app:app") == 1, "the reload had ended"
        assert {each.result().status_code for each in slow} == {200}
