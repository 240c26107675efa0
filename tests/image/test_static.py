"""Static files: nginx serves those of the folder as Flask would, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.harness import Container, Engine, wait_for, write_files
from tests.support.loss import Load
from tests.support.loss_checker.record import ids_in_log
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
    "app.py": APP,
    "static/style.css": "h1 { color: red }\n",
    "static/app.js": "let a = 1\n",
    "static/module.wasm": "\0asm",
    "static/logo.svg": "<svg/>",
    "static/data.json": "{}",
    "static/page.html": "<p>page",
    "static/notes.txt": "notes",
    "static/site.webmanifest": "{}",
    "static/unknown": "?",
    "static/odd.name+with(signs)~, too.PNG": "png",
    "static/Grüße/smörgås.txt": "fika",
    "static/large.bin": "0123456789abcdef" * 50_000,
    "static/empty.txt": "",
    "static/below.css": "of the folder",
    "pages_static/page.css": "of the blueprint",
    "below/page.css": "below the prefix",
}
# What lands in a static folder by mistake, and what Flask sends with Content-Encoding.
MISTAKES = {
    "static/.env": "SECRET=1",
    "static/.git/config": "[remote]",
    "static/views.py": "SECRET = 1",
    "static/views.py.bak": "SECRET = 1",
    "static/uwsgi.ini": "[uwsgi]",
    "static/shop.sqlite3": "SQLite format 3",
    "static/server.key": "PRIVATE KEY",
}
# Those of them that nobody gets.
REFUSED = ("static/.env", "static/.git/config", "static/server.key")


def by_nginx(response: httpx.Response) -> bool:
    """True for a file from nginx; the application would have marked it."""
    return response.status_code == 200 and MARK not in response.headers


def by_application(response: httpx.Response) -> bool:
    return MARK in response.headers


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application with every kind of static file, and some that should not be there."""
    folder = tmp_path_factory.mktemp("shop")
    for parent in (folder, *folder.parents):
        if parent.name.startswith(("pytest", "shop")):
            parent.chmod(0o755)
    write_files(folder, {"app.py": APP} | FILES | MISTAKES)
    for name in FILES:
        os.utime(folder / name, (1_700_000_000, 1_700_000_000.0))
    for name in ("style.css", "app.js"):
        text = (folder / "static" / name).read_bytes()
        (folder / "static" / f"{name}.gz").write_bytes(gzip.compress(text, mtime=0))
    (folder / "static/archive.tar.gz").write_bytes(gzip.compress(b"tar"))
    (folder / "static/link.css").symlink_to("style.css")
    (folder / "static/closed.css").write_text("closed")
    (folder / "static/closed.css").chmod(0)
    return folder


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
    *("Content-Type", "Content-Length", "Content-Range", "Content-Encoding", "Cache-Control"),
    *("Last-Modified", "Accept-Ranges"),
)


def same(one: httpx.Response, other: httpx.Response, headers: tuple[str, ...] = COMPARED) -> bool:
    def essence(response: httpx.Response) -> Any:
        chosen = {name: sorted(response.headers.get(name, "").split(", ")) for name in headers}
        return response.status_code, response.content, chosen

    assert essence(one) == essence(other)
    return True


@pytest.mark.parametrize(
    "name", [*(name for name in FILES if name.startswith("static/")), "static/link.css"]
)
def test_a_file_is_served_by_nginx_as_flask_serves_it(
    nginx: Container, flask: Container, name: str
) -> None:
    path = f"/{quote(name)}"
    from_nginx, from_flask = (
        container.get(path, headers={"Accept-Encoding": "identity"}) for container in (nginx, flask)
    )
    assert by_nginx(from_nginx)
    assert by_application(from_flask)
    assert from_nginx.text == FILES[name.replace("link", "style")]
    assert same(from_nginx, from_flask)
    assert re.fullmatch("[0-9a-f]{32}", from_nginx.headers["X-Request-ID"])
    assert "ETag" in from_nginx.headers


def test_files_are_served_while_every_worker_is_busy(nginx: Container) -> None:
    slow = threading.Thread(target=nginx.get, args=["/sleep?s=3"])
    slow.start()
    time.sleep(0.5)
    for _ in range(10):
        assert by_nginx(nginx.get("/static/style.css", timeout=1))
    assert slow.is_alive(), "the only worker was not busy"
    slow.join()


@pytest.mark.parametrize("name", REFUSED)
def test_neither_nginx_nor_flask_sends_secrets(
    nginx: Container, flask: Container, name: str
) -> None:
    for container in (nginx, flask):
        assert container.get(f"/{name}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/none.css", 404),
        ("GET", "/static/Style.css", 404),
        ("GET", "/static/Gr%C3%BC%C3%9Fe", 404),  # a folder
        ("GET", "/static/Gr%C3%BC%C3%9Fe/", 404),
        ("GET", "/static", 404),
        ("GET", "/static/", 404),
        ("GET", "/static/" + "x" * 300, 404),  # longer than a name can be
        ("GET", "/static/closed.css", 500),
        ("GET", "/static-pages", 200),
        ("GET", "/pages/pages_static/page.css", 200),
        ("GET", "/static/below/page.css", 200),
        ("POST", "/static/style.css", 405),
        ("OPTIONS", "/static/style.css", 200),
        ("POST", "/static/none.css", 405),
        ("POST", "/", 200),
        *(("GET", f"/{name}", 200) for name in MISTAKES if name not in REFUSED),
        ("GET", "/static/archive.tar.gz", 200),
    ],
)
def test_the_application_answers(
    nginx: Container, flask: Container, method: str, path: str, status: int
) -> None:
    body = b"x" * 100_000 if method in ("POST", "PUT") else None
    answers = [
        httpx.request(method, container.url(path), content=body, timeout=10)
        for container in (nginx, flask)
    ]
    assert by_application(answers[0]) or status == 500
    assert answers[0].status_code == status
    by_nginx, by_flask = answers
    assert same(by_nginx, by_flask, headers=(*COMPARED, "Allow", "ETag", MARK))


# --- conditions, parts, compression ----------------------------------------------------------

DAY = {"same": "Tue, 14 Nov 2023 22:13:20 GMT", "earlier": "Mon, 13 Nov 2023 22:13:20 GMT"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-9"}, 206),
        ({"Range": "bytes=-5"}, 206),
        ({"Range": "bytes=0-9", "If-Range": DAY["same"]}, 206),
        ({"Range": "bytes=0-9", "If-Range": DAY["earlier"]}, 200),
        ({"If-Modified-Since": DAY["same"]}, 304),
        ({"If-Modified-Since": DAY["earlier"]}, 200),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"another"', "If-Modified-Since": DAY["same"]}, 200),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_and_parts(
    nginx: Container, flask: Container, method: str, headers: dict[str, str], status: int
) -> None:
    from_nginx, from_flask = (
        httpx.request(method, container.url("/static/large.bin"), headers=headers, timeout=10)
        for container in (nginx, flask)
    )
    assert MARK not in from_nginx.headers
    assert from_nginx.status_code == status
    # nginx says Accept-Ranges with a whole file only, Werkzeug says Last-Modified with 304, too.
    compared = set(COMPARED) - {"Accept-Ranges"} if status < 300 else {"Cache-Control"}
    assert same(from_nginx, from_flask, tuple(compared))


def test_a_part_beyond_the_end(nginx: Container) -> None:
    answer = nginx.get("/static/large.bin", headers={"Range": "bytes=9999999-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */800000"


def test_its_own_etag(nginx: Container) -> None:
    etag = nginx.get("/static/notes.txt").headers["ETag"]
    again = nginx.get("/static/notes.txt", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == etag
    assert again.headers["Cache-Control"] == "no-cache"
    part = nginx.get("/static/notes.txt", headers={"If-Range": etag, "Range": "bytes=0-1"})
    assert (part.status_code, part.text) == (206, "no")


@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [("gzip", "gzip"), ("gzip, deflate, br", "gzip"), ("identity", None), ("gzip;q=0", None)],
)
def test_the_compressed_file_beside_it(
    nginx: Container, accepts: str, encoding: str | None
) -> None:
    path = "/static/style.css"
    answer = nginx.get(path, headers={"Accept-Encoding": accepts})
    assert answer.text == FILES[path[1:]]
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert by_nginx(answer)


# --- what applications there are -------------------------------------------------------------

SAYS = "says where from"
FLASK = "from flask import Flask\n"
MARKED = """
@app.after_request
def mark(response):
    response.headers["X-Answered-By"] = "application"
    return response
"""
# Kind: files beside static/f.txt, and where that or another f.txt is to be found.
OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "folder": (
        {
            "app.py": f"{FLASK}app = Flask(__name__, static_folder='front end/dist')\n{MARKED}",
            "front end/dist/f.txt": SAYS,
        },
        "/dist/f.txt",
    ),
    "factory": (
        {
            "src/shop/__init__.py": f"{FLASK}def create_app():\n    app = Flask(__name__)\n"
            + MARKED.replace("\n", "\n    ")
            + "\n    return app\n",
            "src/shop/static/f.txt": SAYS,
        },
        "/static/f.txt",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_wherever_the_application_has_them(engine: Engine, app_folder: Path, kind: str) -> None:
    files, path = OTHERS[kind]
    container = engine.run(app=write_files(app_folder, {"static/f.txt": SAYS} | files))
    answer = container.wait_until_serving(path)
    assert by_nginx(answer)
    assert answer.text == SAYS
    container.wait_for_log(f"nginx serves {path.removesuffix('f.txt')} from ")


def test_left_to_the_application(engine: Engine, app_folder: Path) -> None:
    """Source is beside the files. For other reasons, see unit/test_static_folder.py."""
    code = "import lib.words\napp = Flask(__name__, static_folder='lib')"
    files = {"app.py": f"{FLASK}{code}\n{MARKED}", "lib/words.py": "", "lib/f.txt": SAYS}
    container = engine.run(app=write_files(app_folder, files))
    answer = container.wait_until_serving("/lib/f.txt")
    assert by_application(answer)
    assert answer.text == SAYS
    left = re.findall("static files are left to the application: (.*)", container.logs())
    assert len(left) == 1
    assert "source" in left[0]


def test_a_folder_that_nobody_may_read(engine: Engine, app_folder: Path) -> None:
    write_files(app_folder, {"app.py": APP, "static/f.txt": SAYS})
    (app_folder / "static").chmod(0)
    container = engine.serve(app=app_folder)
    try:
        assert by_application(container.get("/static/f.txt"))
    finally:
        (app_folder / "static").chmod(0o755)
    wait_for(lambda: by_nginx(container.get("/static/f.txt")), AGAIN, "nginx to look again")


def test_a_folder_that_comes_later(engine: Engine, app_folder: Path) -> None:
    container = engine.serve(app=write_files(app_folder, {"app.py": APP}))
    assert "static" not in container.logs().replace("static-", "")
    write_files(app_folder, {"static/f.txt": SAYS})
    assert by_nginx(container.get("/static/f.txt"))


# --- settings --------------------------------------------------------------------------------

PLAIN = """
def application(environ, start_response):
    start_response("200 OK", [("X-Answered-By", "application")])
    return [environ["PATH_INFO"].encode()]
"""


@pytest.mark.parametrize(
    ("app", "env", "path", "text"),
    [
        (PLAIN, {"STATIC_URL": "/files/"}, "/files/f.txt", "in static"),
        (PLAIN, {"STATIC_PATH": "/app/media"}, "/static/f.txt", "in media"),
        (APP, {"STATIC_URL": "/m", "STATIC_PATH": "media"}, "/m/f.txt", "in media"),
        (PLAIN, {"STATIC_PATH": ""}, "/static/f.txt", "/static/f.txt"),
    ],
    ids=["url", "path", "both", "neither Flask nor settings"],
)
def test_where_the_settings_say(
    engine: Engine, app_folder: Path, app: str, env: dict[str, str], path: str, text: str
) -> None:
    files = {"app.py": app, "static/f.txt": "in static", "media/f.txt": "in media"}
    container = engine.run(app=write_files(app_folder, files), env=env)
    answer = container.wait_until_serving(path)
    assert by_nginx(answer) == (text != path)
    assert answer.text == text


def test_static_index(engine: Engine, app_folder: Path) -> None:
    write_files(app_folder, {"app.py": APP, "static/index.html": "<p>index"})
    container = engine.run(app=app_folder, env={"STATIC_INDEX": "1"})
    answer = container.wait_until_serving()
    assert by_nginx(answer)
    assert answer.text == "<p>index"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert by_nginx(container.get("/?query=1"))
    assert httpx.post(container.url(), timeout=10).text == "home"
    (app_folder / "static/index.html").unlink()
    wait_for(lambda: container.get().text == "home", AGAIN, "nginx to look again")


@pytest.mark.parametrize(
    ("env", "code", "expected"),
    [
        ({"STATIC_MAX_AGE": "3600"}, "", "public, max-age=3600"),
        ({}, "app.config['SEND_FILE_MAX_AGE_DEFAULT'] = 60", "public, max-age=60"),
    ],
    ids=str,
)
def test_how_long_a_file_may_be_kept(
    engine: Engine, app_folder: Path, env: dict[str, str], code: str, expected: str
) -> None:
    files = {"app.py": f"{APP}\n{code}\n", "static/f.txt": SAYS}
    answer = engine.run(app=write_files(app_folder, files), env=env).wait_until_serving(
        "/static/f.txt"
    )
    assert by_nginx(answer)
    assert answer.headers.get_list("Cache-Control") == [expected]


# --- stop and reload -------------------------------------------------------------------------


def test_a_stopping_container_tells_that_to_those_who_fetch_files(
    engine: Engine, app_folder: Path
) -> None:
    write_files(app_folder, {"app.py": APP, "static/f.txt": SAYS})
    container = engine.run(app=app_folder, env={"DRAIN_DELAY": "3", "STATIC_INDEX": "1"})
    container.wait_until_serving("/static/f.txt")
    connection = http.client.HTTPConnection("127.0.0.1", container.port(), timeout=10)

    def ask(path: str) -> tuple[int, bytes, bool]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(), bool(response.will_close)

    expected = {
        "/static/f.txt": (200, SAYS),
        "/static/none": (404, "nothing here"),
        "/": (200, "home"),
    }
    for path, (status, text) in expected.items():
        assert ask(path) == (status, text.encode(), False)
    container.docker.kill(signal.SIGTERM)
    container.wait_for_log("stopping")
    for path, (status, text) in expected.items():
        assert ask(path) == (status, text.encode(), True)
    connection.close()
    assert container.wait_for_exit() == 0


@pytest.mark.timed
def test_a_stop_while_files_are_fetched_loses_nothing(
    engine: Engine, app_folder: Path, tmp_path: Path
) -> None:
    """On kept connections; test_loss.py tries new ones."""
    write_files(app_folder, {"app.py": APP, "static/f.txt": "x" * 10_000})
    container = engine.serve(app=app_folder)
    load = {"no_echo": True, "seconds": 20, "mode": "keepalive", "connections": 20}
    with Load(container, tmp_path / "load.json", "/static/f.txt", **load) as running:
        time.sleep(1)
        code, _ = container.stop()
        result = running.finish()
    print(f"stopped while files were fetched: {result.counts}")
    assert code == 0
    lost = ("cut_short", "5xx", "4xx", "timeout", "unexpected")
    assert {name: result.counts[name] for name in lost} == dict.fromkeys(lost, 0)
    # What nginx had not accepted is not in its log.
    reset = {record.id for record in result.records if record.verdict == "reset_sent"}
    assert not reset & ids_in_log(container.logs())
    assert result.counts["ok"] > 100


VERSION = """
from flask import Flask

app = Flask(__name__, static_folder={0!r}, static_url_path="/static")
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = {1}
app.get("/")(lambda: "home")
"""


@pytest.mark.timed
@pytest.mark.nightly
def test_a_reload_that_changes_them_loses_nothing(
    engine: Engine, app_folder: Path, tmp_path: Path
) -> None:
    write_files(app_folder, {"one/f.txt": "one", "two/f.txt": "two"})
    write_files(app_folder, {"app.py": VERSION.format("one", 60)})
    container = engine.run(app=app_folder)
    container.wait_until_serving("/static/f.txt")
    load: dict[str, Any] = {"mode": "keepalive", "connections": 20, "no_echo": True}
    with Load(container, tmp_path / "load.json", "/static/f.txt", **load) as running:
        for folder, age in (("two", 120), ("one", 60), ("two", 120)):
            time.sleep(0.5)
            write_files(app_folder, {"app.py": VERSION.format(folder, age)})
            container.reload()
            wait_for(lambda text=folder: container.get("/static/f.txt").text == text, AGAIN, folder)
            answer = container.get("/static/f.txt")
            assert by_nginx(answer)
            assert answer.headers["Cache-Control"] == f"public, max-age={age}"
        time.sleep(0.5)
        result = running.finish()
    print(result.counts)
    assert result.counts["ok"] == sum(result.counts.values()) > 100


@pytest.mark.parametrize(
    "writable", ["static/uploads/f.txt", *at_night("static", "static/uploads")]
)
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


@pytest.mark.nightly
def test_a_file_that_is_replaced_from_outside_is_never_cut(
    engine: Engine, app_folder: Path
) -> None:
    write_files(app_folder, {"app.py": APP, "static/f.txt": "0"})
    container = engine.run(app=app_folder)
    container.wait_until_serving("/static/f.txt")
    begun, seen = time.monotonic(), set()
    for number in range(1, 100_000_000):
        (app_folder / "next").write_text(text := str(10**number % 7) * (number % 50 + 1))
        (app_folder / "next").rename(app_folder / "static/f.txt")
        answer = container.get("/static/f.txt")
        assert len(set(answer.text)) == 1
        seen.add(answer.text)
        if time.monotonic() - begun > AGAIN:
            break
    assert len(seen) > 1
    wait_for(lambda: container.get("/static/f.txt").text == text, AGAIN, "nginx to look again")


OWN_FILES = """
from pathlib import Path
from flask import Flask, send_file

for name in ("/data/static/responses/a.css", "/data/responses/a.pdf"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("mine")
app = Flask(__name__, static_folder="/data/static")

@app.get("/")
def pdf():
    return send_file("/data/responses/a.pdf")
"""


@pytest.mark.parametrize("path", ["/", "/static/responses/a.css"])
def test_nginx_deletes_no_file(engine: Engine, app_folder: Path, path: str) -> None:
    """Not even one that belongs to its own user, in a folder with this name."""
    container = engine.run(app=write_files(app_folder, {"app.py": OWN_FILES}))
    container.wait_until_serving()
    for _ in range(3):
        assert container.get(path).text == "mine"
