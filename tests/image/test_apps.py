"""Small applications, as tutorials print them: each runs unmodified, and the same in both modes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dotenv
import httpx
import pytest

from tests.support.harness import (
    APPS,
    DEBUG,
    DEBUG_PORT,
    NO_TLS,
    PRODUCTION_PORT,
    Container,
    Engine,
)

HTML = "text/html; charset=utf-8"
TEXT = "text/plain"
JSON = "application/json"
MODES: dict[str, tuple[list[str], int]] = {
    "production": ([], PRODUCTION_PORT),
    "debug": (DEBUG, DEBUG_PORT),
}
HOST = "docs.example"

NOT_FOUND = """\
<!doctype html>
<html lang=en>
<title>404 Not Found</title>
<h1>Not Found</h1>
<p>The requested URL was not found on the server. If you entered the URL manually please check \
your spelling and try again.</p>
"""
FOUND = """\
<!doctype html>
<html lang=en>
<title>Redirecting...</title>
<h1>Redirecting...</h1>
<p>You should be redirected automatically to the target URL: <a href="{0}">{0}</a>. If not, \
click the link.
"""
HELLO = """\
<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<title>Hello from Flask</title>

{0}
"""
LOGIN = """\
<!doctype html>
<title>Log In - Flaskr</title>
<h1>Log In</h1>
{0}
<form method="post">
  <label for="username">Username</label>
  <input name="username" id="username" required>
  <input type="submit" value="Log In">
</form>"""
SCRIPT = "%3Cscript%3Ealert(1)%3C/script%3E"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
LOGO = (APPS / "tutorial/images/logo.png").read_bytes()
GROCERIES = {"id": 1, "title": "Buy groceries", "done": False}
PYTHON = {"id": 2, "title": "Learn Python", "done": True}
NEW = {"id": 3, "title": "Grüße", "done": False}


@dataclass(frozen=True)
class Answer:
    """What a request is answered with; one that has a `post` (httpx's options) is a POST.

    The body of JSON is what it means: Flask indents it in debug mode.
    """

    path: str
    body: Any
    content_type: str = HTML
    status: int = 200
    post: dict[str, Any] = field(default_factory=dict)


# Folder below tests/apps: what the start-up line names, and answers in the order of the requests.
EXPECTED: dict[str, tuple[str, list[Answer]]] = {
    "tutorial": (
        "app:app",
        [
            Answer("/", FOUND.format("/hello/guest"), status=302),
            Answer("/user", "User World"),
            Answer("/user?name=J%C3%BCrgen+%26+Zo%C3%AB", "User Jürgen &amp; Zoë"),
            Answer(f"/user?name={SCRIPT}", f"User {ESCAPED}"),
            Answer("/post/42", "Post 42"),
            Answer("/post/none", NOT_FOUND, status=404),
            Answer("/hello/", HELLO.format("\n  <h1>Hello, World!</h1>\n")),
            Answer("/hello/J%C3%BCrgen%20%2B", HELLO.format("\n  <h1>Hello Jürgen +!</h1>\n")),
            Answer("/hello/%3Cb%3E", HELLO.format("\n  <h1>Hello &lt;b&gt;!</h1>\n")),
            Answer("/static/style.css", "h1 { color: #377ba8; }\n", "text/css; charset=utf-8"),
            Answer("/images/logo.png", LOGO, "image/png"),
            Answer("/images/icons/ring.png", LOGO, "image/png"),
            Answer("/images/none.png", NOT_FOUND, status=404),
            Answer("/images/%2e%2e/app.py", NOT_FOUND, status=404),
            Answer("/tasks", {"tasks": [GROCERIES, PYTHON]}, JSON),
            Answer("/tasks", {"task": NEW}, JSON, 201, post={"json": {"title": "Grüße"}}),
            Answer("/tasks", {"error": "Bad request"}, JSON, 400, post={"json": {}}),
        ],
    ),
    "factory": ("app:create_app()", [Answer("/", "Hello from a factory!")]),
    "flaskr": (
        "flaskr:create_app()",
        [
            Answer("/hello", "Hello, World!"),
            Answer("/auth/whoami", "You are nobody."),
            Answer("/auth/login", LOGIN.format("")),
            Answer(
                "/auth/login",
                LOGIN.format('\n<div class="flash">Incorrect username.</div>\n'),
                post={"data": {"username": "eve"}},
            ),
            Answer(
                "/auth/login",
                FOUND.format("/auth/whoami"),
                status=302,
                post={"data": {"username": "ada"}},
            ),
            Answer("/auth/whoami", "You are ada."),
        ],
    ),
    # Found by other names, in a package, in a folder src; see also unit/test_find_app.py.
    "main_py": (
        "main:app",
        [
            Answer(
                "/",
                "Hello World from Flask in a uWSGI Nginx Docker container with Python 3 (default)",
            )
        ],
    ),
    "main_package": (
        "app.main:app",
        [
            Answer("/", "Hello from the package's main module"),
            Answer("/api/users/", {"users": ["ada", "grace"]}, JSON),
            Answer("/api/users", FOUND.format(f"http://{HOST}/api/users/"), status=308),
        ],
    ),
    "src_layout": (
        "hello:create_app()",
        [Answer("/", "Hello from src!"), Answer("/about", "About a layout")],
    ),
    # Named by somebody: how, stands in OPTIONS.
    "flask_app": ("hello:create_app('review')", [Answer("/", "Hello from review!")]),
    "flaskenv": ("hello:app", [Answer("/", "Hello from a file, Moon!")]),
    "uwsgi_ini": ("main:app", [Answer("/", "Hello from uwsgi.ini")]),
    "uwsgi_folders": ("shop_wsgi:application", [Answer("/", "Welcome to /app/code")]),
    # Not Flask's.
    "plain_wsgi": ("app:application", [Answer("/", "Hello without a framework", TEXT)]),
}
# python-dotenv as this machine has it, mounted where PYTHONPATH points.
DOTENV = Path(dotenv.__file__).parent


@dataclass(frozen=True)
class Options:
    """How an application is started, and why it is then found."""

    env: dict[str, str] = field(default_factory=dict)
    reason: str = "the usual names in /app"
    mounts: dict[str, str] = field(default_factory=dict)


OPTIONS = {
    "main_package": Options(reason="module in /app/uwsgi.ini"),
    "flask_app": Options(
        {"FLASK_APP": "path/to/hello.py:create_app('review')", "UWSGI_INI": ""}, "FLASK_APP"
    ),
    "flaskenv": Options(
        {"NAME": "Moon", "PYTHONPATH": "/extra"},
        "FLASK_APP in /app/.flaskenv",
        {str(DOTENV): "/extra/dotenv"},
    ),
    "uwsgi_ini": Options(reason="module in /app/uwsgi.ini"),
    "uwsgi_folders": Options({"UWSGI_INI": "deploy/shop.ini"}, "wsgi-file in /app/deploy/shop.ini"),
}
NOT_FLASK = ("plain_wsgi",)
# `make test` tries these in debug mode, too; `make test-all` tries all.
BY_DAY = ("tutorial", "flaskr", "flaskenv", "plain_wsgi")


def start(engine: Engine, app: str, command: list[str], **env: str) -> Container:
    """Start a container with an application, and with what its options say."""
    options = OPTIONS.get(app, Options())
    mounts = {str(APPS / app): "/app", **options.mounts}
    volumes = {source: {"bind": target, "mode": "ro"} for source, target in mounts.items()}
    return engine.run(command, volumes=volumes, env={**options.env, **env})


def ask(client: httpx.Client, expected: Answer) -> Answer:
    """Make a request and describe the response as the expected one is described."""
    method = "POST" if expected.post else "GET"
    response = client.request(method, expected.path, **expected.post)
    content_type = response.headers["content-type"]
    if content_type == JSON:
        body = response.json()
    elif isinstance(expected.body, bytes):
        body = response.content
    else:
        body = response.text
    return Answer(expected.path, body, content_type, response.status_code, expected.post)


@pytest.mark.parametrize(
    ("app", "mode"),
    [
        pytest.param(app, mode, marks=[] if app in BY_DAY else [pytest.mark.nightly])
        for app in EXPECTED
        for mode in MODES
    ],
)
def test_app_answers(engine: Engine, app: str, mode: str) -> None:
    name, expected = EXPECTED[app]
    found_as = f"{name} ({OPTIONS.get(app, Options()).reason})"
    command, port = MODES[mode]
    container = start(engine, app, command)
    container.wait_until_serving(expected[0].path, port, status=expected[0].status)
    headers = {"host": HOST}
    with httpx.Client(base_url=container.url("", port), headers=headers, verify=NO_TLS) as client:
        assert [ask(client, answer) for answer in expected] == expected
    log = container.logs()
    assert "Traceback" not in log
    found = [line for line in log.splitlines() if line.startswith("docker-flask: serving ")]
    assert len(found) == 1, log
    assert found[0] == f"docker-flask: serving {found_as} on port {port}"
    if mode == "production":
        check_flask_command(container, app, found_as)


def check_flask_command(container: Container, app: str, found_as: str) -> None:
    """The `flask` command finds the same. It knows of no mode."""
    located, routes = (container.execute("flask", word)[1] for word in ("docker-flask", "routes"))
    assert located.splitlines()[-1] == found_as, located
    if app in NOT_FLASK:
        assert f"{found_as} is a function, not a Flask application" in routes
    else:
        assert ["Endpoint", "Methods", "Rule"] in map(str.split, routes.splitlines())


@pytest.mark.parametrize("mode", MODES)
def test_a_file_for_development_switches_debug_on_in_no_other_mode(
    engine: Engine, mode: str
) -> None:
    assert "FLASK_DEBUG=1" in (APPS / "flaskenv/.flaskenv").read_text()
    command, port = MODES[mode]
    answer = start(engine, "flaskenv", command).wait_until_serving("/debug", port)
    assert answer.text == str(mode == "debug")


def test_debug_mode_sees_an_edit_of_uwsgi_ini(engine: Engine, app_folder: Path) -> None:
    for name in ("one", "two"):
        (app_folder / f"{name}.py").write_text((APPS / "uwsgi_ini/main.py").read_text())
    (app_folder / "uwsgi.ini").write_text("[uwsgi]\nmodule = one\n")
    container = engine.run(DEBUG, app=app_folder)
    container.wait_for_log("serving one:app (module in /app/uwsgi.ini)")
    (app_folder / "uwsgi.ini").write_text("[uwsgi]\nmodule = two\n")
    container.wait_for_log("serving two:app (module in /app/uwsgi.ini)")


@pytest.fixture(scope="module")
def idle(module_engine: Engine) -> Callable[[str], Container]:
    """Start a container with an application that nobody serves, or return the one that runs."""
    return functools.cache(lambda app: start(module_engine, app, ["sleep", "infinity"]))


SHELL = ["sh", "-c", "echo 'app.name' | flask shell"]
GREET = ["greet", "Print the greeting.", "routes"]
NAMED = {"APP_MODULE": "x", "FLASK_APP": "x"}
ROUTES = ["flask", "routes"]


@pytest.mark.parametrize(
    ("app", "env", "command", "code", "words"),
    [
        # Found by the usual names that Flask does not look for, by uwsgi.ini, by a folder src.
        ("main_py", {}, ROUTES, 0, ["hello", "GET", "/"]),
        ("uwsgi_folders", {}, ROUTES, 0, ["welcome", "GET", "/"]),
        ("src_layout", {}, ROUTES, 0, ["about"]),
        ("src_layout", {}, ["python", "-m", "flask", "routes"], 0, ["about"]),
        ("flask_app", {}, ROUTES, 0, ["hello"]),
        # APP_MODULE goes before FLASK_APP, and --app before both.
        ("main_py", {**NAMED, "APP_MODULE": "main:app"}, ROUTES, 0, ["hello"]),
        ("flaskenv", {}, ["sh", "-c", "cd / && flask --app /app/hello.py routes"], 0, ["/debug"]),
        ("flask_app", NAMED, ["flask", "--app", "path/to/hello.py", "routes"], 0, ["hello"]),
        # The application's own commands, and its shell.
        ("flaskenv", {}, ["flask", "--help"], 0, GREET),
        ("flaskenv", {}, ["flask"], 2, GREET),
        ("flaskenv", {}, ["flask", "greet"], 0, ["Hello from a file"]),
        ("factory", {}, SHELL, 0, ["'app'"]),
        # Nothing there.
        ("main_py", {"APP_MODULE": "x"}, ["flask", "--help"], 0, ["by APP_MODULE='x'", "routes"]),
        ("main_py", {"FLASK_APP": "x"}, ROUTES, 2, ["by FLASK_APP='x'", "APP_MODULE="]),
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
    code, out, err = start(engine, "main_py", ["flask", "routes"]).finish()
    assert (code, err) == (0, "")
    assert "hello" in out
