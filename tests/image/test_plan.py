"""What runs was decided once: an edit counts from the next reload on, not from the next crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.harness import APPS, HELLO, Container, Engine, wait_for
from tests.support.marks import at_night
from tests.support.servers import SERVERS

APP = f"""{HELLO}
from flask import make_response, send_file
app.add_url_rule("/file", "file", lambda: send_file("/app/app.py"))

@app.get("/page")
def page():
    response = make_response(str(time.monotonic_ns()))
    response.headers["Cache-Control"] = "public, max-age=60"
    return response
"""
MASTER, WORKER = SERVERS["uwsgi"].master, SERVERS["uwsgi"].worker


@pytest.fixture
def app(app_folder: Path) -> Path:
    (app_folder / "app.py").write_text(APP)
    return app_folder


def crash(container: Container, name: str) -> None:
    """Kill the first processes of this name, and wait until others have taken their place."""
    before = container.pids(name)
    container.kill("KILL", *before)
    wait_for(lambda: set(container.pids(name)) - set(before), 10, f"another {name}")
    container.wait_until_serving()


def test_a_server_that_crashed_still_agrees_with_nginx(
    engine: Engine, app: Path, tmp_path: Path
) -> None:
    """A snippet that turns off the cache has no effect before nginx has taken it up."""
    folder = tmp_path / "conf.d"
    folder.mkdir(mode=0o755)
    volumes = {str(folder): {"bind": "/etc/nginx/conf.d", "mode": "rw"}}
    container = engine.serve(app=app, volumes=volumes, env={"RESPONSE_CACHE": "1m"})

    def is_cached() -> bool:
        return len({container.wait_until_serving("/page").text for _ in range(2)}) == 1

    wait_for(is_cached, 10, "a cached page")
    (folder / "mine.conf").write_text(
        "server { listen 8080; location / { uwsgi_pass unix:///tmp/uwsgi.sock; } }\n"
        "uwsgi_no_cache 1;\n"
    )
    crash(container, MASTER)
    wait_for(is_cached, 10, "a cached page")
    assert container.get("/file").text == (app / "app.py").read_text()


def test_a_reload_that_fails_changes_nothing(engine: Engine, app: Path) -> None:
    """Not the number of workers, nor the words for it, nor what a crash brings back."""
    (app / "uwsgi.ini").write_text("[uwsgi]\nthreads = 1\nprocesses = 2\n")
    container = engine.serve(app=app)
    wait_for(lambda: len(container.pids(WORKER)) == 2, 10, "two workers")
    (app / "uwsgi.ini").write_text("[uwsgi]\nthreads = 1\nprocesses = 5\n")
    (app / "app.py").write_text("raise RuntimeError('broken')")
    code, words = container.execute("docker-flask", "reload")
    assert code == 1
    assert "reload failed, keeping the previous generation" in words
    (app / "app.py").write_text(APP)
    crash(container, MASTER)
    wait_for(lambda: len(container.pids(WORKER)) == 2, 10, "two workers again")
    container.reload()
    wait_for(lambda: len(container.pids(WORKER)) == 5, 10, "five workers")


@pytest.mark.parametrize("what", ["a crash", *at_night("more load")])
def test_a_reload_that_loads_for_long_holds_up_nothing(engine: Engine, what: str) -> None:
    container = engine.serve(app=APPS / "hello")
    container.shell("echo 20 >/tmp/load_seconds")
    container.docker.kill("HUP")
    container.wait_for_log("importing")
    before = container.pids(WORKER)
    if what == "a crash":
        crash(container, "nginx: master")
    else:
        with ThreadPoolExecutor(16) as pool:
            slow = [pool.submit(container.get, "/sleep?s=2", timeout=30) for _ in range(16)]
            wait_for(lambda: len(container.pids(WORKER)) > len(before), 15, "the wide server")
        assert {each.result().status_code for each in slow} == {200}
    assert container.logs().count("serving app:app") == 1, "the reload had ended"
