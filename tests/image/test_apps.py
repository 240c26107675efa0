"""Small applications, as tutorials print them: each runs unmodified, and the same in both modes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dotenv
import httpx
import pytest

from tests.support.harness import APPS, DEBUG, DEBUG_PORT, HELLO, NO_TLS, Container, Engine
from tests.support.marks import at_night

MODES: dict[str, tuple[list[str], int]] = {"production": ([], 80), "debug": (DEBUG, DEBUG_PORT)}
LOGO = (APPS / "tutorial/images/logo.png").read_bytes()
# Paths of the tutorial, each with status, type and a part of the answer.
PAGES: list[tuple[str, int, str, str | bytes]] = [
    ("/", 302, "text/html", "/hello/guest"),
    ("/user", 200, "text/html", "User World"),
    ("/user?name=J%C3%BCrgen+%26+Zo%C3%AB", 200, "text/html", "User Jürgen &amp; Zoë"),
    ("/user?name=%3Cscript%3E", 200, "text/html", "User &lt;script&gt;"),
    ("/post/none", 404, "text/html", "The requested URL was not found on the server."),
    ("/hello/J%C3%BCrgen%20%2B", 200, "text/html", "<h1>Hello Jürgen +!</h1>"),
    ("/hello/", 200, "text/html", '<link rel="stylesheet" href="/static/style.css">'),
    ("/static/style.css", 200, "text/css", "h1 { color: #377ba8; }"),
    ("/images/icons/ring.png", 200, "image/png", LOGO),
    ("/images/%2e%2e/app.py", 404, "text/html", "Not Found"),
    ("/tasks", 200, "application/json", "Learn Python"),
]


class App(NamedTuple):
    """The name that the log has, why it was found, a page, and how it is started."""

    name: str
    reason: str
    path: str
    text: str
    env: dict[str, str] = {}  # noqa: RUF012 - read only
    mounts: dict[str, str] = {}  # noqa: RUF012 - read only


USUAL = "the usual names in /app"
# By the folder below tests/apps; other ways of finding it: unit/test_find_app.py.
FOUND = {
    "tutorial": App("app:app", USUAL, "/post/42", "Post 42"),
    "src_layout": App("hello:create_app()", USUAL, "/about", "About a layout"),
    "plain_wsgi": App("app:application", USUAL, "/", "Hello without a framework"),
    "flaskenv": App(
        "hello:app",
        "FLASK_APP='hello.py'",
        "/",
        "Hello from a file, Moon!",
        {"NAME": "Moon", "PYTHONPATH": "/extra"},
        {str(Path(dotenv.__file__).parent): "/extra/dotenv"},
    ),
    "main_package": App(
        "app.main:app",
        "module='app.main' in /app/uwsgi.ini",
        "/",
        "Hello from the package's main module",
    ),
    "uwsgi_folders": App(
        "shop_wsgi:application",
        "wsgi-file='shop.wsgi' in /app/deploy/shop.ini",
        "/",
        "Welcome to /app/code",
        {"UWSGI_INI": "deploy/shop.ini"},
    ),
}


def start(engine: Engine, app: str, command: list[str]) -> Container:
    """Start a container with an application, and with what it needs."""
    mounts = {str(APPS / app): "/app", **FOUND[app].mounts}
    volumes = {source: {"bind": target, "mode": "ro"} for source, target in mounts.items()}
    return engine.run(command, volumes=volumes, env=FOUND[app].env)


@pytest.mark.parametrize("app", [*list(FOUND)[1:4], *at_night("tutorial", *list(FOUND)[4:])])
@pytest.mark.parametrize("mode", MODES)
def test_an_application_is_found(engine: Engine, app: str, mode: str) -> None:
    """By the server, and by the `flask` command, which knows of no mode."""
    name, reason, path, text, *_ = FOUND[app]
    command, port = MODES[mode]
    container = start(engine, app, command)
    assert container.wait_until_serving(path, port).text == text
    log = container.logs()
    assert log.count("docker-flask: serving ") == 1
    publish = "" if command else f" (docker run -p 8091:{port})"
    assert f"docker-flask: serving {name} ({reason}) on port {port}{publish}" in log.splitlines()
    located, routes = (container.execute("flask", word)[1] for word in ("docker-flask", "routes"))
    assert located.splitlines()[-1] == f"{name} ({reason})", located
    if app == "plain_wsgi":
        assert f"{name} ({reason}) is not a Flask application" in routes
    else:
        assert ["Endpoint", "Methods", "Rule"] in map(str.split, routes.splitlines())
    if app == "flaskenv":  # FLASK_DEBUG=1 in .flaskenv
        assert container.get("/debug", port).text == str(mode == "debug")


@pytest.mark.parametrize("mode", MODES)
def test_the_tutorial(engine: Engine, mode: str) -> None:
    command, port = MODES[mode]
    container = start(engine, "tutorial", command)
    container.wait_until_serving("/user", port)
    with httpx.Client(base_url=container.url("", port), verify=NO_TLS) as client:
        for path, status, kind, part in PAGES:
            answer = client.get(path)
            content: Any = answer.content if isinstance(part, bytes) else answer.text
            assert (answer.status_code, part in content) == (status, True), path
            assert answer.headers["Content-Type"].startswith(kind), path
        task = client.post("/tasks", json={"title": "Grüße"})
        assert (task.status_code, task.json()["task"]["title"]) == (201, "Grüße")
        assert client.post("/tasks", json={}).status_code == 400
    assert "Traceback" not in container.logs()


def test_debug_mode_sees_an_edit_of_uwsgi_ini(engine: Engine, app_folder: Path) -> None:
    for name in ("one", "two"):
        (app_folder / f"{name}.py").write_text(HELLO)
    (app_folder / "uwsgi.ini").write_text("[uwsgi]\nmodule = one\n")
    container = engine.run(DEBUG, app=app_folder)
    container.wait_for_log("serving one:app (module='one' in /app/uwsgi.ini)")
    (app_folder / "uwsgi.ini").write_text("[uwsgi]\nmodule = two\n")
    container.wait_for_log("serving two:app (module='two' in /app/uwsgi.ini)")


@pytest.fixture(scope="module")
def idle(module_engine: Engine) -> Callable[[str], Container]:
    """Start a container with an application that nobody serves, or return the one that runs."""
    return functools.cache(lambda app: start(module_engine, app, ["sleep", "infinity"]))


GREET = ["greet", "Print the greeting.", "routes"]
NAMED = {"APP_MODULE": "x", "FLASK_APP": "x"}
ROUTES = ["flask", "routes"]


@pytest.mark.parametrize(
    ("app", "env", "command", "code", "words"),
    [
        # APP_MODULE goes before FLASK_APP, and --app before both.
        ("flaskenv", {**NAMED, "APP_MODULE": "hello:app"}, ROUTES, 0, ["/debug"]),
        ("flaskenv", {}, ["sh", "-c", "cd / && flask --app /app/hello.py routes"], 0, ["/debug"]),
        ("flaskenv", NAMED, ["flask", "--app", "hello.py", "routes"], 0, ["/debug"]),
        # The application's own commands, and its shell.
        ("flaskenv", {}, ["flask"], 2, GREET),
        ("flaskenv", {}, ["flask", "greet"], 0, ["Hello from a file"]),
        ("src_layout", {}, ["sh", "-c", "echo 'app.name' | flask shell"], 0, ["'hello'"]),
        ("plain_wsgi", {}, ["flask", "--version"], 0, ["Werkzeug"]),
        # Nothing there.
        ("tutorial", {"APP_MODULE": "x"}, ["flask", "--help"], 0, ["by APP_MODULE='x'", "routes"]),
        ("tutorial", {"FLASK_APP": "x"}, ROUTES, 2, ["by FLASK_APP='x'", "APP_MODULE="]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_flask_command(
    idle: Callable[[str], Container],
    app: str,
    env: dict[str, str],
    command: list[str],
    code: int,
    words: list[str],
) -> None:
    found, out = idle(app).execute(*command, environment=env)
    assert found == code, out
    assert [word for word in words if word not in out] == [], out
    assert "Traceback" not in out


def test_flask_command_in_a_container_of_its_own(engine: Engine) -> None:
    """As `docker run --rm IMAGE flask ...`."""
    code, out, err = start(engine, "tutorial", ["flask", "routes"]).finish()
    assert (code, err) == (0, "")
    assert "hello" in out
