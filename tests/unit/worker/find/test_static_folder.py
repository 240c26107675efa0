"""Which static files nginx may serve: each kind of application in a fresh interpreter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find import static_folder
from tests.support.forked_python import run_python

# Prints what is found, and what the log says of it.
PROGRAM = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from docker_flask.worker.find import find_app, static_folder
from docker_flask.shared.worker_options import WorkerOptions

os.chdir(sys.argv[1])
root = Path.cwd()
options = WorkerOptions(**json.loads(sys.argv[2]))
found, words = static_folder.find(find_app.load(root).application, root, options)
known = found and {name: asdict(found)[name] for name in ("url", "folder", "max_age")}
print("\\n" + json.dumps([known, words]))
"""
FLASK = "from flask import Flask, Blueprint\n"
APP = FLASK + "app = Flask(__name__)\n"
WSGI = "def application(environ, start_response):\n    return []\n"


def find(folder: Path, app: str, **options: Any) -> tuple[dict[str, Any] | None, str]:
    """What is found of an application whose folders `static`, `lib` and `media` exist.

    options: of the supervisor; in capitals: variables of the environment.
    """
    for name in ("static", "media", "lib", "static/admin"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "f.txt").write_text("")
    if not (folder / "link").exists():
        (folder / "link").symlink_to(".")
    (folder / "lib/words.py").write_text("")
    (folder / "app.py").write_text(app)
    unset = dict.fromkeys(("APP_MODULE", "FLASK_APP", "UWSGI_INI"), "")
    environ = {name: options.pop(name) for name in list(options) if name.isupper()}
    found, words = run_python(PROGRAM, str(folder), json.dumps(options), env=unset | environ)
    return found, words


def made(arguments: str) -> str:
    return f"{FLASK}app = Flask(__name__, {arguments})\n"


def kept(seconds: str) -> str:
    return f"{APP}app.config['SEND_FILE_MAX_AGE_DEFAULT'] = {seconds}\n"


DOC = "/usr/share/doc"
PROXY_FIX = """from werkzeug.middleware.proxy_fix import ProxyFix
app.wsgi_app = ProxyFix(ProxyFix(app.wsgi_app))
"""
OTHER_WSGI = APP + "app.wsgi_app = lambda environ, start: []"


@pytest.mark.parametrize(
    ("app", "options", "url", "folder", "max_age"),
    [
        (APP, {}, "/static", "static", None),
        (made("static_folder='media'"), {}, "/media", "media", None),
        (made("static_url_path='/a/b-1.2/'"), {}, "/a/b-1.2", "static", None),
        (FLASK + "def create_app():\n    return Flask(__name__)", {}, "/static", "static", None),
        # Its own way of saying how long a file may be kept.
        (kept("7"), {}, "/static", "static", 7),
        (kept("7"), {"static_max_age": 0}, "/static", "static", 0),
        # Middleware that changes no path.
        (APP + PROXY_FIX, {}, "/static", "static", None),
        # nginx has removed this prefix.
        (APP, {"SCRIPT_NAME": "/shop"}, "/static", "static", None),
        # What the settings say goes first, whatever the application is.
        (APP, {"static_url": "/s"}, "/s", "static", None),
        (APP, {"static_path": DOC}, "/static", DOC, None),
        (OTHER_WSGI, {"static_url": "/static"}, "/static", "static", None),
        (made("static_folder=None"), {"static_url": "/s"}, "/s", "static", None),
        (made("static_url_path=''"), {"static_path": DOC}, "/static", DOC, None),
        (WSGI, {"static_url": "/s"}, "/s", "static", None),
    ],
)
def test_found(
    tmp_path: Path, app: str, options: dict[str, Any], url: str, folder: str, max_age: int | None
) -> None:
    found, words = find(tmp_path, app, **options)
    assert found == {"url": url, "folder": str(tmp_path / folder), "max_age": max_age}
    assert words == f"nginx serves {url}/ from {tmp_path / folder}"


GUARD = """
import functools
def guarded(view):
    @functools.wraps(view)
    def guard(**named):
        return view(**named)
    return guard
"""
OWN_METHOD = """
class Mine(Flask):
    def send_static_file(self, filename):
        return ''
app = Mine(__name__)
"""


@pytest.mark.parametrize(
    ("app", "options", "reason"),
    [
        # Where source is.
        (made("static_folder='.', static_url_path='/s'"), {}, "source"),
        (made("static_folder='link'"), {}, "source"),
        (FLASK + "import lib.words\napp = Flask(__name__, static_folder='lib')", {}, "source"),
        (APP, {"static_path": "{root}"}, "source"),
        (APP + "import lib.words", {"static_path": "{root}/lib"}, "source"),
        # Where another answers.
        (made("static_url_path=''"), {}, "prefix '/'"),
        (APP + GUARD + "v = app.view_functions\nv['static'] = guarded(v['static'])", {}, "view"),
        (FLASK + OWN_METHOD, {}, "view"),
        (OTHER_WSGI, {}, "middleware"),
        (kept("'soon'"), {}, "soon"),
    ],
)
def test_left_to_the_application(
    tmp_path: Path, app: str, options: dict[str, Any], reason: str
) -> None:
    filled = {name: value.format(root=tmp_path) for name, value in options.items()}
    found, words = find(tmp_path, app, **filled)
    assert found is None
    assert words.startswith("static files are left to the application: ")
    assert reason in words


@pytest.mark.parametrize(
    ("app", "options"),
    [
        (WSGI, {}),
        (made("static_folder=None"), {}),
        (APP, {"static_url": ""}),
        (WSGI, {"static_url": "", "static_path": DOC}),
    ],
)
def test_there_are_none(tmp_path: Path, app: str, options: dict[str, Any]) -> None:
    assert find(tmp_path, app, **options) == (None, "")


@pytest.mark.parametrize(
    ("target", "left"), [("style.css", False), ("../secret.txt", True), ("..", True)]
)
def test_a_link_that_leads_out(tmp_path: Path, target: str, left: bool) -> None:
    folder = tmp_path / "static"
    (folder / "below").mkdir(parents=True)
    (folder / "style.css").write_text("")
    (tmp_path / "secret.txt").write_text("")
    (folder / "below/link").symlink_to(os.path.join("..", target))
    app = Flask("shop", static_folder=str(folder))
    chosen, _ = static_folder.find(app, tmp_path / "root", WorkerOptions(static_path=str(folder)))
    assert chosen
    found, words = static_folder.find(app, tmp_path / "root", WorkerOptions())
    assert (found is None) == left
    assert ("leads out to" in words) == left
