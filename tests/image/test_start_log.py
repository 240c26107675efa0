"""The log of a start: few lines, in one order; what explains a failure is shown."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.harness import DEBUG, DEBUG_PORT, HELLO, IMAGE, ROOT, Container, Engine
from tests.support.marks import at_night
from tests.support.servers import SERVERS

MAX_LINES = 8


@pytest.fixture
def app(app_folder: Path) -> Path:
    (app_folder / "app.py").write_text(HELLO)
    (app_folder / "static").mkdir()
    return app_folder


def lines_of_start(container: Container) -> list[str]:
    """The lines from the start to the first request of `wait_until_serving`, without the latter."""
    container.wait_for_log("serving ")
    lines = container.logs().replace("\r", "").splitlines()
    return [line for line in lines if '"GET / HTTP' not in line]


def matches(lines: list[str], *patterns: str) -> bool:
    return bool(
        re.fullmatch("\n".join(f"docker-flask: {one}" for one in patterns), "\n".join(lines))
    )


@pytest.mark.parametrize(
    "name",
    ["uwsgi", *at_night("uwsgi-gevent", *(name for name in SERVERS if name[0] == "g"))],
)
def test_production(engine: Engine, app: Path, name: str) -> None:
    server = SERVERS[name]
    container = engine.serve(server=server, app=app)
    lines = lines_of_start(container)
    print("\n".join(lines))
    assert len(lines) <= MAX_LINES
    assert matches(
        lines,
        rf"version \d+\.\d+\.\d+ \(\w{{1,12}}\) on .+, Python 3\.\d+\.\d+, {server.name}",
        r"found the Flask application app:app in /app/app\.py \(the usual names in /app\)",
        r"\d+ (to \d+ )?workers( of \d+ threads)? \(.*\).*",
        r"nginx serves /static/ from /app/static",
        r"serving app:app \(the usual names in /app\) on port 80 \(docker run -p 8091:80\)",
    ), lines
    # An upload that nginx keeps in a file adds only its line of the access log.
    assert httpx.post(container.url(), content=b"x" * (5 << 20)).text == "hello"
    assert "buffered" not in container.wait_for_log('"POST / HTTP')
    container.reload()
    of_reload = lines_of_start(container)[len(lines) :]
    assert [line for line in of_reload if " HTTP/1.1" not in line] == [
        "docker-flask: reload: loading a new generation, the current generation keeps serving",
        lines[-1],
    ]


def test_debug_mode(engine: Engine, app: Path) -> None:
    container = engine.serve(DEBUG, app=app)
    assert container.get("/missing", DEBUG_PORT).status_code == 404
    log = container.wait_for_log("/missing")
    assert "\x1b" not in log, "colours are for terminals"
    lines = [line for line in log.splitlines() if "HTTP/1.1" not in line]
    assert len(lines) <= MAX_LINES
    assert "version " in lines[0]
    assert lines[-1] == "docker-flask: serving app:app (the usual names in /app) on port 5000"


def test_what_is_unusual_has_a_line_each(engine: Engine, app: Path) -> None:
    (app / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:app\nmaster = false\n")
    # The words of applications for LOG_LEVEL do not matter.
    env = {"DEBUGPY": "5678", "FLASK_DEBUG": "1", "WEB_CONCURENCY": "3", "LOG_LEVEL": "WARNING"}
    lines = lines_of_start(engine.serve(app=app, env=env))
    for words in (
        "DEBUGPY='5678' is ignored in production",
        "FLASK_DEBUG='1' is ignored in production: use -d debug",
        "WEB_CONCURENCY is not a setting",
        "ignored options for",
    ):
        assert [words in line for line in lines].count(True) == 1, lines
    assert len(lines) == 5 + 4
    assert "serving " in lines[-1]


def test_what_explains_a_failure_is_shown(engine: Engine, app: Path) -> None:
    (app / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:app\nhook-asap = exec:false\n")
    container = engine.run(app=app, env={"WEB_CONCURENCY": "3"})
    assert container.wait_for_exit() == 70
    lines = container.logs().splitlines()
    assert any("exec:false" in line or '"false"' in line for line in lines[:-1]), lines
    assert "WEB_CONCURENCY is not a setting" in lines[-2]
    assert "before the application was loaded; the lines above may say why" in lines[-1]
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "missing"])
def test_make_up_says_why_it_failed(engine: Engine, taken: bool) -> None:
    """The port is taken, or the application is missing."""
    name = f"docker-flask-test-{secrets.token_hex(4)}"
    base = engine.client.containers.create(IMAGE, labels=engine._labels)
    image = base.commit(name, changes="ENV APP_MODULE=missing:app")
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        if not taken:
            other.close()
        command = [ROOT / "tools/up", image.id, name, str(port)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    engine.remove_containers()
    engine.client.images.remove(image.id, force=True)
    engine.client.volumes.get(f"{name}-data").remove()
    assert (found.returncode, found.stdout) == (1, "")
    *reason, last = found.stderr.splitlines()
    if taken:
        assert not engine.client.containers.list(all=True, filters={"name": name})
        assert last.endswith(f"port {port} is taken; choose another: make up PORT={port + 1}")
    else:
        assert last == "docker-flask: the container did not start; the lines above show why"
    assert ["missing" in line for line in reason].count(True) == (not taken), reason
