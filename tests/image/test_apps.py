"""Small applications, as tutorials print them: each runs unmodified, and the same in both modes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from harness import APPS, DEBUG, DEBUG_PORT, PRODUCTION_PORT, Engine

HTML = "text/html; charset=utf-8"
JSON = "application/json"
MODES: dict[str, tuple[list[str], int]] = {
    "production": ([], PRODUCTION_PORT),
    "debug": (DEBUG, DEBUG_PORT),
}
AT_ONCE = 4
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
MICROBLOG = """\
<!doctype html>
<html>
    <head>
        <title>Home - Microblog</title>
    </head>
    <body>
        <h1>Hello, Miguel!</h1>
    </body>
</html>"""
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
LOGO = (APPS / "images/images/logo.png").read_bytes()


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
    "run_debug": (
        "app:app",
        [Answer("/", "<p>Hello, World!</p>"), Answer("/none", NOT_FOUND, status=404)],
    ),
    "run_plain": (
        "app:app",
        [
            Answer(
                "/tasks",
                {
                    "tasks": [
                        {"id": 1, "title": "Buy groceries", "done": False},
                        {"id": 2, "title": "Learn Python", "done": True},
                    ]
                },
                JSON,
            ),
            Answer(
                "/tasks",
                {"task": {"id": 3, "title": "Grüße", "done": False}},
                JSON,
                201,
                post={"json": {"title": "Grüße"}},
            ),
            Answer("/tasks", {"error": "Bad request"}, JSON, 400, post={"json": {}}),
        ],
    ),
    "run_host": (
        "app:app",
        [
            Answer("/", FOUND.format("/user/guest"), status=302),
            Answer("/user/guest", "User guest"),
            Answer("/user/J%C3%BCrgen%20%2B", "User Jürgen +"),
            Answer("/post/42", "Post 42"),
            Answer("/post/none", NOT_FOUND, status=404),
        ],
    ),
    "run_unguarded": (
        "app:app",
        [Answer("/", "<h1>Distant Reading Archive</h1><p>This site is a prototype API.</p>")],
    ),
    "greeting": (
        "app:app",
        [
            Answer("/", "Hello, World!"),
            Answer("/?name=Ada", "Hello, Ada!"),
            Answer("/?name=J%C3%BCrgen+%26+Zo%C3%AB", "Hello, Jürgen &amp; Zoë!"),
            Answer(f"/?name={SCRIPT}", f"Hello, {ESCAPED}!"),
        ],
    ),
    "images": (
        "app:app",
        [
            Answer("/", '<img src="/images/logo.png">'),
            Answer("/images/logo.png", LOGO, "image/png"),
            Answer("/images/icons/ring.png", LOGO, "image/png"),
            Answer("/images/none.png", NOT_FOUND, status=404),
            Answer("/images/%2e%2e/app.py", NOT_FOUND, status=404),
        ],
    ),
    "templates": (
        "app:app",
        [
            Answer("/hello/", HELLO.format("\n  <h1>Hello, World!</h1>\n")),
            Answer("/hello/Ada", HELLO.format("\n  <h1>Hello Ada!</h1>\n")),
            Answer(
                "/hello/%3Cscript%3EAda",
                HELLO.format("\n  <h1>Hello &lt;script&gt;Ada!</h1>\n"),
            ),
            Answer("/static/style.css", "h1 { color: #377ba8; }\n", "text/css; charset=utf-8"),
        ],
    ),
    "factory": ("app:create_app()", [Answer("/", "Hello from a factory!")]),
    # The folder is itself the package `app`: it is mounted at /app.
    "package": ("app:app", [Answer("/", MICROBLOG), Answer("/index", MICROBLOG)]),
    "package_relative": ("app:app", [Answer("/", "Hello from the package!")]),
    # An empty __init__.py beside an app.py with relative imports, and with absolute ones.
    "package_app": ("app.app:app", [Answer("/", "Hello from a blueprint!")]),
    "package_siblings": (
        "app:app",
        [Answer("/books", [{"title": "Emma", "author": "Jane Austen"}], JSON)],
    ),
    # The folder holds a package.
    "microblog": ("app:app", [Answer("/index", "Hello, World!")]),
    "subpackage": (
        "app:app",
        [
            Answer("/", "HELLO!"),
            Answer("/blog/1", "<h2>Tea &amp; biscuits</h2>"),
            Answer("/blog/2", NOT_FOUND, status=404),
        ],
    ),
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
}


@dataclass(frozen=True)
class Visit:
    """What one application answered in one mode, and what its log says."""

    answers: list[Answer]
    log: str


Visits = dict[tuple[str, str], Future[Visit]]


def visit(engine: Engine, app: str, mode: str) -> Visit:
    """Run an application, ask it everything and remove it."""
    _, expected = EXPECTED[app]
    command, port = MODES[mode]
    container = engine.run(command, volumes={str(APPS / app): {"bind": "/app", "mode": "ro"}})
    try:
        container.wait_until_serving(expected[0].path, port, status=expected[0].status)
        with httpx.Client(base_url=container.url("", port), headers={"host": HOST}) as client:
            answers = [ask(client, answer) for answer in expected]
        return Visit(answers, container.logs())
    finally:
        container.docker.remove(force=True, v=True)


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


@pytest.fixture(scope="module")
def visits(session_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Visits]:
    """What the tests of this module need, several at a time and ahead of the tests."""
    wanted = [
        (str(item.callspec.params["app"]), str(item.callspec.params["mode"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_app_answers
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {(app, mode): pool.submit(visit, session_engine, app, mode) for app, mode in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("app", EXPECTED)
def test_app_answers(visits: Visits, app: str, mode: str) -> None:
    name, expected = EXPECTED[app]
    seen = visits[app, mode].result()
    assert seen.answers == expected
    assert "Traceback" not in seen.log
    found = [line for line in seen.log.splitlines() if line.startswith("docker-flask: serving ")]
    assert len(found) == 1, seen.log
    assert found[0].startswith(f"docker-flask: serving {name} ("), found[0]
