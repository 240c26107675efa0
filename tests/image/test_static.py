"""Static files: nginx serves those of the folder as Flask would, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.harness import REQUEST_ID, Container, Engine, wait_for, write_files
from tests.support.marks import at_night

# Seconds after which nginx has looked again at a file that the container can't write.
AGAIN = 2
# What the application answers is marked; what is not, came from nginx.
MARK = "X-Answered-By"
APP = """
import time
from flask import Blueprint, Flask, request

app = Flask(__name__)
pages = Blueprint("pages", __name__, url_prefix="/pages", static_folder="pages_static")
below = Blueprint("below", __name__, static_folder="below", static_url_path="/static/below")
app.register_blueprint(pages)
app.register_blueprint(below)

@app.route("/", methods=["GET", "POST"])
def home():
    return "home"

@app.get("/static-pages")
def static_pages():
    return "static pages"

@app.get("/sleep")
def sleep():
    time.sleep(float(request.args["s"]))
    return "slept"

@app.errorhandler(404)
def not_found(error):
    return "nothing here", 404

@app.after_request
def mark(response):
    response.headers["X-Answered-By"] = "application"
    return response
"""
FILES = {
    "static/style.css": "h1 { color: red }\n",
    "static/app.js": "let a = 1\n",
    "static/module.wasm": "\0asm",
    "static/logo.svg": "<svg/>",
    "static/page.html": "<p>page",
    "static/notes.txt": "notes",
    "static/site.webmanifest": "{}",
    "static/unknown": "?",
    "static/odd.name+with(signs)~, too.PNG": "png",
    "static/Grüße/smörgås.txt": "fika",
    "static/large.bin": "0123456789abcdef" * 50_000,
    "static/empty.txt": "",
    "pages_static/page.css": "of the blueprint",
    "below/page.css": "below the prefix",
}
MISTAKES = {
    "static/views.py": "SECRET = 1",
    "static/views.py.bak": "SECRET = 1",
    "static/uwsgi.ini": "[uwsgi]",
    "static/shop.sqlite3": "SQLite format 3",
}
# What nobody gets.
REFUSED = {
    "static/.env": "SECRET=1",
    "static/.git/config": "[remote]",
    "static/server.key": "PRIVATE KEY",
    "static/server.p12": "PKCS 12",
}


def by_nginx(response: httpx.Response) -> bool:
    """True for a file from nginx; the application would have marked it."""
    return response.status_code == 200 and MARK not in response.headers


@pytest.fixture(scope="module")
def shop(module_folder: Path) -> Path:
    """An application with every kind of static file, and some that should not be there."""
    write_files(module_folder, {"app.py": APP} | FILES | MISTAKES | REFUSED)
    for name in FILES:
        os.utime(module_folder / name, (1_700_000_000, 1_700_000_000.0))
    static = module_folder / "static"
    packed = gzip.compress(FILES["static/style.css"].encode(), mtime=0)
    (static / "style.css.gz").write_bytes(packed)
    (static / "archive.tar.gz").write_bytes(gzip.compress(b"tar"))
    (static / "link.css").symlink_to("style.css")
    (static / "closed.css").touch(mode=0)
    return module_folder


@pytest.fixture(scope="module")
def nginx(module_engine: Engine, shop: Path) -> Container:
    """The application as it is: nginx serves its files."""
    return module_engine.serve(app=shop, env={"WEB_CONCURRENCY": "1"})


@pytest.fixture(scope="module")
def flask(module_engine: Engine, shop: Path) -> Container:
    """The same, but it serves its files itself."""
    return module_engine.serve(app=shop, env={"WEB_CONCURRENCY": "1", "STATIC_URL": ""})


# --- who answers, and what -------------------------------------------------------------------

# Of what Flask sends, all but an Expires that says the same as max-age, and a Content-Disposition
# that says what everybody does anyway.
COMPARED = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Content-Encoding",
    "Cache-Control",
    "Last-Modified",
    "Accept-Ranges",
    "Allow",
)


def essence(response: httpx.Response, names: Iterable[str] = COMPARED) -> Any:
    chosen = {name: sorted(response.headers.get(name, "").split(", ")) for name in names}
    return response.status_code, response.content, chosen


@pytest.mark.parametrize(
    "name", [*(name for name in FILES if name.startswith("static/")), "static/link.css"]
)
def test_a_file_is_served_by_nginx_as_flask_serves_it(
    nginx: Container, flask: Container, name: str
) -> None:
    path, plain = f"/{quote(name)}", {"Accept-Encoding": "identity"}
    from_nginx, from_flask = (one.get(path, headers=plain) for one in (nginx, flask))
    assert [by_nginx(from_nginx), by_nginx(from_flask)] == [True, False]
    assert from_nginx.text == FILES[name.replace("link", "style")]
    assert essence(from_nginx) == essence(from_flask)
    assert re.fullmatch(REQUEST_ID, from_nginx.headers["X-Request-ID"])
    assert "ETag" in from_nginx.headers


def test_files_are_served_while_every_worker_is_busy(nginx: Container) -> None:
    slow = threading.Thread(target=nginx.get, args=["/sleep?s=3"])
    slow.start()
    time.sleep(0.5)
    for _ in range(10):
        assert by_nginx(nginx.get("/static/style.css", timeout=1))
    assert slow.is_alive(), "the only worker was not busy"
    slow.join()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/none.css", 404),
        ("GET", "/static/Gr%C3%BC%C3%9Fe", 404),  # a folder
        ("GET", "/static/", 404),
        ("GET", "/static/" + "x" * 300, 404),  # longer than a name can be
        ("GET", "/static/closed.css", 500),
        ("GET", "/static-pages", 200),
        ("GET", "/pages/pages_static/page.css", 200),
        ("GET", "/static/below/page.css", 200),
        ("POST", "/static/style.css", 405),
        ("OPTIONS", "/static/style.css", 200),
        ("POST", "/", 200),
        *(("GET", f"/{name}", 404) for name in REFUSED),
        ("GET", "/static/server.key/", 404),
        *(("GET", f"/{name}", 200) for name in MISTAKES),
        ("GET", "/static/archive.tar.gz", 200),
    ],
)
def test_what_is_not_nginx_to_send(
    nginx: Container, flask: Container, method: str, path: str, status: int
) -> None:
    body = b"x" * 100_000 if method == "POST" else None
    here, there = (
        httpx.request(method, container.url(path), content=body, timeout=10)
        for container in (nginx, flask)
    )
    assert here.status_code == there.status_code == status
    if path.strip("/") not in REFUSED:
        assert essence(here, (*COMPARED, "ETag", MARK)) == essence(there, (*COMPARED, "ETag", MARK))
        assert MARK in here.headers or status == 500


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-9"}, 206),
        ({"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}, 304),
        ({"If-Modified-Since": "Mon, 13 Nov 2023 22:13:20 GMT"}, 200),
    ],
)
def test_conditions_and_parts(
    nginx: Container, flask: Container, headers: dict[str, str], status: int
) -> None:
    from_nginx, from_flask = (
        one.get("/static/large.bin", headers=headers) for one in (nginx, flask)
    )
    assert (from_nginx.status_code, MARK in from_nginx.headers) == (status, False)
    # nginx says Accept-Ranges with a whole file only, Werkzeug says Last-Modified with 304, too.
    names = set(COMPARED) - {"Accept-Ranges"} if status < 300 else {"Cache-Control"}
    assert essence(from_nginx, names) == essence(from_flask, names)


# --- conditions, parts, compression ----------------------------------------------------------


def test_its_own_etag(nginx: Container) -> None:
    etag = nginx.get("/static/notes.txt").headers["ETag"]
    again = nginx.get("/static/notes.txt", headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@pytest.mark.parametrize(
    ("accepts", "encoding"), [("gzip, deflate, br", "gzip"), ("identity", None)]
)
def test_the_compressed_file_beside_it(
    nginx: Container, accepts: str, encoding: str | None
) -> None:
    answer = nginx.get("/static/style.css", headers={"Accept-Encoding": accepts})
    assert answer.text == FILES["static/style.css"]
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert by_nginx(answer)


# --- what applications there are -------------------------------------------------------------

SAYS = "says where from"
ELSEWHERE = APP.replace(
    "app = Flask(__name__)", "app = Flask(__name__, static_folder='front end/dist')"
)
OWN_FILE = f"""
import pathlib
folder = pathlib.Path("/data/responses/dist")
folder.mkdir(parents=True, exist_ok=True)
(folder / "f.txt").write_text("{SAYS}")
"""
PLAIN = """
def application(environ, start_response):
    start_response("200 OK", [("X-Answered-By", "application")])
    return [environ["PATH_INFO"].encode()]
"""


@pytest.mark.parametrize(
    ("files", "env", "path", "age"),
    [
        # Where the application says.
        ({"app.py": ELSEWHERE, "front end/dist/f.txt": SAYS}, {}, "/dist/f.txt", None),
        # Where the settings say.
        (
            {"app.py": PLAIN, "media/f.txt": SAYS},
            {"STATIC_URL": "/m", "STATIC_PATH": "media", "STATIC_MAX_AGE": "3600"},
            "/m/f.txt",
            "public, max-age=3600",
        ),
        # nginx deletes no file, not even one that is its own user's.
        (
            {"app.py": OWN_FILE + ELSEWHERE.replace("front end", "/data/responses")},
            {},
            "/dist/f.txt",
            None,
        ),
    ],
    ids=["elsewhere", "settings", "own"],
)
def test_nginx_serves_them_from(
    engine: Engine,
    app_folder: Path,
    files: dict[str, str],
    env: dict[str, str],
    path: str,
    age: str | None,
) -> None:
    """Other ways to say where: unit/test_static_folder.py."""
    container = engine.run(app=write_files(app_folder, files), env=env)
    container.wait_until_serving(path)
    for _ in range(3):
        answer = container.get(path)
        assert (by_nginx(answer), answer.text) == (True, SAYS)
    assert answer.headers.get_list("Cache-Control")[0] == (age or "no-cache")
    container.wait_for_log(f"nginx serves {path.removesuffix('f.txt')} from ")


def test_a_folder_that_can_be_read_later(engine: Engine, app_folder: Path) -> None:
    write_files(app_folder, {"app.py": APP, "static/f.txt": SAYS})
    (app_folder / "static").chmod(0)
    container = engine.serve(app=app_folder)
    try:
        assert MARK in container.get("/static/f.txt").headers
    finally:
        (app_folder / "static").chmod(0o755)
    wait_for(lambda: by_nginx(container.get("/static/f.txt")), AGAIN, "nginx to look again")


# --- stop and reload -------------------------------------------------------------------------


def test_static_index_and_a_stop(engine: Engine, app_folder: Path) -> None:
    """A stopping container tells those who fetch files to connect again elsewhere."""
    files = {"app.py": APP, "static/index.html": "<p>index", "static/f.txt": SAYS}
    env = {"DRAIN_DELAY": "3", "STATIC_INDEX": "1"}
    container = engine.run(app=write_files(app_folder, files), env=env)
    answer = container.wait_until_serving()
    assert (by_nginx(answer), answer.text) == (True, "<p>index")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert httpx.post(container.url(), timeout=10).text == "home"
    (app_folder / "static/index.html").unlink()
    wait_for(lambda: container.get().text == "home", AGAIN, "nginx to look again")
    connection = http.client.HTTPConnection("127.0.0.1", container.port(), timeout=10)

    def ask(path: str) -> tuple[int, str, bool]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), bool(response.will_close)

    expected = {
        "/static/f.txt": (200, SAYS),
        "/static/none": (404, "nothing here"),
        "/": (200, "home"),
    }
    assert {path: ask(path) for path in expected} == {
        path: (*found, False) for path, found in expected.items()
    }
    container.docker.kill(signal.SIGTERM)
    container.wait_for_log("stopping")
    assert {path: ask(path) for path in expected} == {
        path: (*found, True) for path, found in expected.items()
    }
    connection.close()
    assert container.wait_for_exit() == 0


@pytest.mark.parametrize("writable", ["static/uploads/f.txt", *at_night("static/uploads")])
def test_a_file_that_the_container_may_write_is_never_cut(
    engine: Engine, app_folder: Path, writable: str
) -> None:
    """Written in place, it is sent as it stands there, not under the length that it had."""
    file = "static/uploads/f.txt"
    write_files(app_folder, {"app.py": APP, file: SAYS})
    (app_folder / writable).chmod(0o777)
    container = engine.run(app=app_folder)
    container.wait_until_serving(f"/{file}")
    for number in range(20):
        text = f"version {number} {'x' * number}"
        (app_folder / file).write_text(text)
        assert container.get(f"/{file}").text == text
