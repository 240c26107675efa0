"""Which callable is found in a folder: each convention in a fresh interpreter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_python import run_python
from tests.support.harness import write_files

FLASK = "from flask import Flask\n"
APP = FLASK + "app = Flask(__name__)\n"
FACTORY = FLASK + "def create_app():\n    return Flask(__name__)\n"
# A WSGI callable without Flask, which says who it is.
WSGI = "def {name}(environ, start_response):\n    return [b'{says}']\n"

# Prints {"name", "says", "reason"} or {"error", "message"}. `says`: the body, for Flask its name.
PROGRAM = """
import json, os, sys
from pathlib import Path
from docker_flask.worker.find import find_app

os.chdir(sys.argv[1])
try:
    found = find_app.load(Path.cwd(), **json.loads(sys.argv[2]))
    application = found.application
    says = getattr(application, "import_name", None)
    if says is None:
        says = b''.join(application({}, print)).decode()
    answer = {"name": found.name, "says": says, "reason": found.reason, "note": found.note}
except BaseException as error:
    answer = {"error": type(error).__name__, "message": str(error)}
print("\\n" + json.dumps(answer))
"""


def wsgi(name: str, says: str = "here") -> str:
    return WSGI.format(name=name, says=says)


def locate(
    folder: Path,
    files: dict[str, str],
    app_module: str | None = None,
    options: dict[str, str] | None = None,
    **environ: str,
) -> dict[str, Any]:
    """What is found in a folder with these files.

    options: of the supervisor; environ: variables beside APP_MODULE.
    """
    folder.mkdir(exist_ok=True)
    write_files(folder, files)
    unset = dict.fromkeys(("FLASK_APP", "UWSGI_INI", "FLASK_SKIP_DOTENV"), "")
    env = {**unset, "APP_MODULE": app_module or "", **environ}
    return run_python(PROGRAM, str(folder), json.dumps(options or {}), env=env)


# Which module each calls the factory of.
CALLED = {
    "calls": "app",
    "calls_core": "core",
    "calls_main": "app.main",
    "calls_shop": "shop",
    "calls_shop_app": "shop.app",
}
# What a file holds, by the word behind its name.
TEXTS = {
    "": "",
    "wsgi": wsgi("app"),
    "application": wsgi("application"),
    "flask": APP,
    "site": FLASK + "site = Flask(__name__)\n",
    "factory": FACTORY,
    "make": FLASK + "def make_app(config=None):\n    return Flask(__name__)\n",
    "any": FLASK + "def create_app(*names, **more):\n    return Flask(__name__)\n",
    "run": APP + "app.run(debug=True)\n",
    "needs": "def create_app(config): ...\n",
    "helper": "HELPER = 1\n",
    "both": wsgi("app") + "def create_app():\n    return None\n",
    "name": "app = 'a name'\n" + wsgi("application"),
    "two": FLASK + "one = Flask('one')\ntwo = Flask('two')\n",
    "same": FLASK + "site = Flask('site')\nshop = site\n",
    "imports": "from shop.main import app\n",
    "reexports": "from .web import app\n",
    "neighbour": "import shop\n" + wsgi("app"),
    "server": FLASK + "site = Flask(__name__)\nimport models\n",
    "models": "from server import site\n",
    "marked": "\ufeff" + wsgi("app"),  # as editors of Windows save it
    "as": FLASK + "def app():\n    return Flask('x')\nsite = Flask('site')\n",
    # A factory whose defaults are for development, and modules that call it for production.
    "dev": FLASK + "def create_app(config='dev'):\n    return Flask(config)\n",
    "exports": "from .core import create_app\n",
    **{
        name: f"from {package} import create_app\napp = create_app('production')\n"
        for name, package in CALLED.items()
    },
    "bare": "from app import create_app\nsite: object = create_app()\n",
    "renamed": "import os\nfrom app import create_app as build\nif os.sep:\n"
    "    site, db = build('production'), None\nelse:\n    site = build()\n",
    "proxy": "import app\n\ndef wrap(it):\n    return it\n"
    "application = wrap(app.create_app('production'))\n",
    "elsewhere": "from setup_of_site import app\n",
    "setup_of_site": FLASK + "app = Flask('production')\n",
    # Not for servers: their import would do work, wait for ever, or needs what is not there.
    "script": "from app import create_app\napp = create_app('script')\n"
    "with app.app_context():\n    1 / 0\n",
    "worker": "from app import create_app\napp = create_app('script')\n"
    "app.app_context().push()\n1 / 0\n",
    "serves": "from app import create_app\nfrom waitress import serve\n"
    "app = create_app('script')\nserve(app)\n",
    "guarded": "from app import create_app\nif __name__ == '__main__':\n"
    "    app = create_app('production')\n    app.run()\n1 / 0\n",
    "celery": "from celery import Celery\napp = Celery()\n",
    "current": "from flask import current_app as app\nfrom app import create_app\n",
    "tables": "from app import create_app\napp = create_app('production')\n"
    "with app.app_context():\n    pass\nif __name__ == '__main__':\n    app.run()\n",
}


def tree(text: str) -> dict[str, str]:
    """Files by their names, as in "app.py:wsgi shop/__init__.py"."""
    pairs = (word.partition(":") for word in text.split())
    return {name: TEXTS[kind] for name, _, kind in pairs}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        # The usual names; any name of an object of Flask's; what is served does not run itself.
        ("app.py:flask", "app:app"),
        ("app.py:application", "app:application"),
        ("app.py:site", "app:site"),
        ("app.py:make", "app:make_app()"),
        ("app.py:any", "app:create_app()"),
        ("app.py:run", "app:app"),
        # app.py before wsgi.py before main.py; what is only a helper is passed over.
        ("app.py:wsgi wsgi.py:wsgi main.py:wsgi", "app:app"),
        ("app.py:helper main.py:wsgi", "main:app"),
        # A ready application before a factory; a variable of that name is no application.
        ("app.py:both", "app:app"),
        ("app.py:name", "app:application"),
        # A factory that needs arguments can't be called.
        ("app.py:needs wsgi.py:wsgi", "wsgi:app"),
        # A package.
        ("app/__init__.py:wsgi", "app:app"),
        ("app/__init__.py app/main.py:wsgi", "app.main:app"),
        # The same application under two names is one.
        ("app.py:same", "app:shop"),
        # A package of another name, with its application under another name, or in a module.
        ("shop/__init__.py:site", "shop:site"),
        ("src/shop/__init__.py src/shop/wsgi.py:flask", "shop.wsgi:app"),
        ("shop/__init__.py shop/main.py:flask tests/__init__.py:imports", "shop.main:app"),
        ("shop/__init__.py:reexports shop/web.py:wsgi", "shop:app"),
        # A package beside others that are none of the application.
        ("shop/__init__.py:flask lib/__init__.py tests/__init__.py:helper", "shop:app"),
        # The usual names before a package of another name.
        ("shop/__init__.py:flask wsgi.py:neighbour", "wsgi:app"),
        # A module of another name, beside some that import the application, test it or have none.
        ("hello.py:marked", "hello:app"),
        # A folder that is no package.
        ("backend/app.py:wsgi backend/models.py:models tests/app.py:wsgi", "app:app"),
        ("run.py:application", "run:application"),
        ("src/server.py:factory", "server:create_app()"),
        ("server.py:server models.py:models test_server.py:flask gunicorn.conf.py", "server:site"),
        # A package before it.
        ("shop/__init__.py:factory run.py:wsgi", "shop:create_app()"),
        # src layout.
        ("src/app.py:wsgi", "app:app"),
        ("src/shop/__init__.py src/app.py:neighbour", "app:app"),
    ],
)
def test_order_and_packages(tmp_path: Path, files: str, name: str) -> None:
    found = locate(tmp_path, tree(files))
    assert found.get("name") == name, found
    assert found["reason"] == f"the usual names in {tmp_path}"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        # The usual names, inside the package and beside it; modules of any name; src.
        ("app/__init__.py:dev wsgi.py:calls", "wsgi:app"),
        ("app/__init__.py:dev app/wsgi.py:calls", "app.wsgi:app"),
        ("app/__init__.py:dev main.py:renamed", "main:site"),
        ("app/__init__.py:dev wsgi.py:elsewhere setup_of_site.py:setup_of_site", "wsgi:app"),
        ("app/__init__.py app/main.py:dev run.py:calls_main", "run:app"),
        ("app/__init__.py:dev run.py:calls", "run:app"),
        ("app/__init__.py:exports app/core.py:dev flasky.py:calls", "flasky:app"),
        ("app/__init__.py:dev manage.py:proxy", "manage:application"),
        ("app/__init__.py:dev manage.py:proxy asgi.py:calls", "manage:application"),
        ("__init__.py:dev wsgi.py:calls", "app.wsgi:app"),
        ("__init__.py:dev run.py:calls", "app.run:app"),
        ("app/__init__.py:dev microblog.py:bare", "microblog:site"),
        ("app/__init__.py:dev run.py:tables", "run:app"),
        ("app.py:dev serve.py:calls", "serve:app"),
        ("shop/__init__.py shop/app.py:dev autoapp.py:calls_shop_app", "autoapp:app"),
        ("src/shop/__init__.py:dev run.py:calls_shop", "run:app"),
        ("src/shop/__init__.py:dev src/run.py:calls_shop", "run:app"),
        ("core.py:dev run.py:calls_core", "run:app"),
        ("backend/app.py:dev backend/wsgi.py:calls", "wsgi:app"),
        ("backend/app.py:dev backend/run.py:calls", "run:app"),
        # In one module, too.
        ("app.py:as", "app:site"),
        # What a server must not import is not imported.
        *(
            (f"app/__init__.py:dev {file}", "app:create_app()")
            for file in (
                "seed.py:script",
                "tasks.py:worker",
                "run.py:serves",
                "run.py:guarded",
                "main.py:serves",
                "wsgi.py:guarded",
                "asgi.py:proxy",
                "tasks.py:celery",
                "main.py:celery",
                "app/main.py:current",
                "tests/run.py:calls",
                "test_run.py:calls",
                # Two that call it as the image would.
                "manage.py:bare run.py:bare",
            )
        ),
        ("app/__init__.py:dev run.py:calls seed.py:script tasks.py:celery", "run:app"),
    ],
)
def test_an_application_before_a_factory(tmp_path: Path, files: str, name: str) -> None:
    found = locate(tmp_path / "app", tree(files))
    assert found.get("name") == name, found
    expected = {"microblog": "dev", "app": "dev"}.get(name.partition(":")[0], "production")
    assert found["says"] == ("site" if name == "app:site" else expected)


@pytest.mark.parametrize("package", ["app", "."])
def test_the_folder_is_the_package(tmp_path: Path, package: str) -> None:
    init = FLASK + f"app = Flask(__name__)\nfrom {package} import views\n"
    files = {"__init__.py": init, "views.py": f"from {package} import app\n"}
    found = locate(tmp_path / "app", files)
    assert (found.get("name"), found.get("says")) == ("app:app", "app"), found


@pytest.mark.parametrize(
    ("app_module", "says"),
    [
        ("shop.web:holder.inner", "inner"),
        ("shop.web:make('two', n=2)", "made two 2"),
        ("inner.deep:app", "deep"),
        # A factory as Flask writes it, without a call; no application that takes anything.
        ("shop.web:make", "made one 1"),
        ("shop.web:decorated", "decorated"),
    ],
)
def test_app_module(tmp_path: Path, app_module: str, says: str) -> None:
    files = {
        "app.py": wsgi("app", "not this one"),
        "shop/web.py": (
            wsgi("app", "app")
            + "class holder:\n    inner = staticmethod(lambda e, s: [b'inner'])\n"
            + "def make(name='one', n=1):\n"
            + "    return lambda e, s: [f'made {name} {n}'.encode()]\n"
            + "def decorated(*names, **more):\n    return [names and b'decorated']\n"
        ),
        "src/inner/deep.py": wsgi("app", "deep"),
        "hello.py": wsgi("app", "FLASK_APP"),
        "uwsgi.ini": "[uwsgi]\nmodule = hello\n",
    }
    found = locate(tmp_path, files, app_module, FLASK_APP="hello")
    assert found.get("says") == says, found
    assert found["reason"] == f"APP_MODULE={app_module!r}"


TEXTS |= {
    "x": "x = 1\n",
    "async": "async def app(scope, receive, send): ...\n",
    "none": "def create_app(): ...\n",
    "arguments": "def create_app(n): ...\n",
}
SEVERAL = ["several", "`one`, `two`", "APP_MODULE="]


@pytest.mark.parametrize(
    ("files", "app_module", "words"),
    [
        ("", None, ["this folder is empty", "-v $PWD/app:/app"]),
        ("models.py", None, ["`app.py`", "`wsgi.py`", "`main.py`", "APP_MODULE="]),
        ("app.py:x", None, ["none of `app`", "`create_app`", " in app;"]),
        ("app.py:needs", None, [" in app;", "a factory needs no arguments"]),
        ("hello.py:flask server.py:wsgi models.py", None, ["several", "`hello`, `server`"]),
        ("one/app.py:wsgi two/main.py:wsgi", None, ["several", "`one/app`, `two/main`"]),
        ("test_app.py:flask conftest.py:factory setup.py:flask", None, ["`app.py`"]),
        ("app.py:async", None, ["app:app is an ASGI application", "a2wsgi"]),
        ("app.py:two", None, SEVERAL),
        ("one/__init__.py:flask two/__init__.py:factory", None, SEVERAL),
        ("app/__init__.py:dev run.py:calls serve.py:bare", None, ["several", "`run`, `serve`"]),
        ("server.py:dev hello.py:calls seed.py:script", None, ["several", "`seed`, `server`"]),
        ("app.py:none", None, ["app:create_app()", "NoneType"]),
        ("shop.py:x", "shop:x", ["shop:x", "int"]),
        ("shop.py:x", "shop", ["APP_MODULE='shop'"]),
        ("shop.py:x", "shop:1 x", ["'1 x' is neither a name nor a call"]),
        ("shop.py:arguments", "shop:create_app", ["environ"]),
        ("shop.py:arguments", "shop:create_app(open('/tmp/x', 'w'))", ["not all literals"]),
        ("", "no_such_module:app", ["no module named 'no_such_module'", "APP_MODULE="]),
    ],
)
def test_not_found(tmp_path: Path, files: str, app_module: str | None, words: list[str]) -> None:
    answer = locate(tmp_path, tree(files), app_module)
    assert answer.get("error") == "NotFound", answer
    assert [word for word in words if word not in answer["message"]] == [], answer["message"]
    assert "\n" not in answer["message"]


@pytest.mark.parametrize(
    ("files", "app_module", "error", "message"),
    [
        ({"app.py": "import no_such_package\n"}, None, "ModuleNotFoundError", "no_such_package"),
        ({"app.py": "import sys\nsys.exit(4)\n"}, None, "SystemExit", "4"),
        # Another file is not taken in its place.
        ({"app.py": "1 / 0\n", "main.py": wsgi("app")}, None, "ZeroDivisionError", "division"),
        ({"app.py": FACTORY}, "app:create_app(1)", "TypeError", "takes 0 positional arguments"),
    ],
)
def test_errors_of_the_application_pass_through(
    tmp_path: Path, files: dict[str, str], app_module: str | None, error: str, message: str
) -> None:
    answer = locate(tmp_path, files, app_module)
    assert answer.get("error") == error, answer
    assert message in answer["message"]


# --- what does not run -----------------------------------------------------------------------

MAIN = 'if __name__ == "__main__":\n'
CREATE = "    with app.app_context():\n        db.create_all()\n"
MAIN_FUNCTION = "def main():\n    port = 5000\n    app.run(port=port)\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        # What only serves.
        (MAIN + "    app.run(debug=True)\n", ""),
        (MAIN + "    import os\n    port = int(os.environ['PORT'])\n    app.run(port=port)\n", ""),
        (MAIN + "    try:\n        socketio.run(app)\n    finally:\n        print(1)\n", ""),
        (MAIN_FUNCTION + MAIN + "    main()\n", ""),
        ("if __name__ == 'x':\n    create()\n", ""),
        # What does more.
        (MAIN + CREATE + "    app.run(debug=True)\n", "lines 5 to 6 do"),
        (MAIN.replace('"', "'") + "    init()\n    app.run()\n", "line 5 does"),
        (MAIN + "    app.config['X'] = 1\n    app.run()\n    ended()\n", "lines 5 to 7 do"),
        (MAIN_FUNCTION + "    ended()\n" + MAIN + "    sys.exit(0)\n    main()\n", "line 10 does"),
        (MAIN + "    app = create_app('production')\n    app.run()\n", "line 5 does"),
    ],
)
def test_what_only_a_program_does(tmp_path: Path, text: str, lines: str) -> None:
    note = locate(tmp_path, {"app.py": wsgi("app").rstrip() + f"\n\n{text}"})["note"]
    assert note.startswith(f"{tmp_path}/app.py: {lines} not run here") if lines else not note


def test_an_application_that_only_a_program_makes(tmp_path: Path) -> None:
    answer = locate(tmp_path, {"app.py": FLASK + MAIN + "    app = Flask('app')\n    app.run()\n"})
    assert answer["error"] == "NotFound"
    assert f" in app; {tmp_path}/app.py: line 3 does not run here, because" in answer["message"]


# --- FLASK_APP, .flaskenv and .env -----------------------------------------------------------

MANY = wsgi("app", "app") + wsgi("app2", "app2") + "def create_app(name='factory'):\n"
MANY += "    return lambda e, s: [name.encode()]\n"
HELLO = {
    "hello.py": MANY,
    "my-hello.py": wsgi("app", "hyphen"),
    "path/to/hello.py": wsgi("app", "path"),
    "package/__init__.py": wsgi("app", "package"),
    "package/module.py": "from . import app as package\n" + wsgi("app", "module"),
    "src/inner.py": wsgi("app", "src"),
}


@pytest.mark.parametrize(
    ("flask_app", "name", "says"),
    [
        ("hello.py", "hello:app", "app"),
        (" ./hello.py ", "hello:app", "app"),
        ("my-hello.py", "my-hello:app", "hyphen"),
        ("path/to/hello.py", "hello:app", "path"),
        ("hello.py:app2", "hello:app2", "app2"),
        ("hello:create_app('dev')", "hello:create_app('dev')", "dev"),
        ("hello: create_app(name='dev')", "hello:create_app(name='dev')", "dev"),
        ("package", "package:app", "package"),
        ("package/module.py", "package.module:app", "module"),
        ("inner", "inner:app", "src"),
    ],
)
def test_flask_app(tmp_path: Path, flask_app: str, name: str, says: str) -> None:
    files = {**HELLO, "app.py": wsgi("app", "not this one"), "uwsgi.ini": "[uwsgi]\nmodule = app\n"}
    found = locate(tmp_path, files, FLASK_APP=flask_app)
    reason = f"FLASK_APP={flask_app.strip()!r}"
    assert found == {"name": name, "says": says, "reason": reason, "note": ""}


@pytest.mark.parametrize(
    ("flask_app", "name"),
    [("__init__.py", "shop:shop"), (".", "shop:shop"), ("app.py", "shop.app:app")],
)
def test_flask_app_where_the_folder_is_a_package(tmp_path: Path, flask_app: str, name: str) -> None:
    files = {"__init__.py": FLASK + "shop = Flask(__name__)\n", "app.py": wsgi("app")}
    found = locate(tmp_path / "shop", files, FLASK_APP=flask_app)
    assert found.get("name") == name, found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FLASK_APP", "nothing", ["no module named 'nothing'"]),
        ("FLASK_APP", "hello:nothing", ["no 'nothing' in hello"]),
        ("FLASK_APP", "hello:create_app(x", ["neither a name nor a call"]),
        ("FLASK_APP", "path", ["none of `app`", "in path;"]),
        ("wsgi-file", "nothing.py", ["no module named 'nothing'", "/uwsgi.ini"]),
    ],
)
def test_a_name_that_is_wrong(tmp_path: Path, name: str, value: str, words: list[str]) -> None:
    files = {**HELLO, "app.py": wsgi("app")}
    environ: dict[str, Any] = {}
    if name == "FLASK_APP":
        environ[name] = value
    else:
        files["uwsgi.ini"] = f"[uwsgi]\n{name} = {value}\n"
    answer = locate(tmp_path, files, **environ)
    assert answer.get("error") == "NotFound", answer
    message = answer["message"]
    assert message.startswith(f"no WSGI callable by {name}={value!r}"), message
    assert [word for word in [*words, "APP_MODULE="] if word not in message] == [], message
    assert "\n" not in message


FLASKENV = {".flaskenv": "FLASK_APP=hello\n"}


@pytest.mark.parametrize(
    ("files", "environ", "name"),
    [
        (FLASKENV, {}, "hello:app"),
        ({".flaskenv": "FLASK_APP='hello:app2'\n"}, {"FLASK_APP": ""}, "hello:app2"),
        ({".flaskenv": "FLASK_APP=app\n", ".env": "FLASK_APP=hello"}, {}, "hello:app"),
        ({".flaskenv": "FLASK_APP=app\n"}, {"FLASK_APP": "hello"}, "hello:app"),
        ({**FLASKENV, "uwsgi.ini": "[uwsgi]\nmodule=app\n"}, {}, "hello:app"),
        ({"../.env": "FLASK_APP=hello\n"}, {}, "hello:app"),
    ],
)
def test_flask_app_in_a_file(
    tmp_path: Path, files: dict[str, str], environ: dict[str, Any], name: str
) -> None:
    folder = tmp_path / "app"
    found = locate(folder, {**HELLO, "app.py": wsgi("app"), **files}, **environ)
    assert found.get("name") == name, found
    assert found["reason"].startswith("FLASK_APP=")


def test_a_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    body = "repr([os.environ.get(name) for name in ('ONE', 'TWO', 'THREE')]).encode()"
    files = {
        "app.py": f"import os\nSEEN = {body}\ndef app(e, s):\n    return [SEEN]\n",
        ".flaskenv": "ONE=flaskenv\nTWO=flaskenv\nTHREE=flaskenv\n",
        ".env": "export TWO=env\nTHREE=env\n",
    }
    found = locate(tmp_path, files, THREE="environment")
    assert found["says"] == "['flaskenv', 'env', 'environment']"
    assert found["reason"] == f"the usual names in {tmp_path}"
    found = locate(tmp_path, files, THREE="environment", FLASK_SKIP_DOTENV="1")
    assert found["says"] == "[None, None, 'environment']"


# --- uwsgi.ini -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ini", "name", "option"),
    [
        ("module=main\r\ncallable = app\r\n", "main:app", "module"),
        # What uWSGI itself takes where nothing is said; failing that, the usual names.
        ("module = main\n", "main:application", "module"),
        ("module = hello\n", "hello:app", "module"),
        ("wsgi = hello:app2\n", "hello:app2", "wsgi"),
        ("module = hello\ncallable = create_app('x')\n", "hello:create_app('x')", "module"),
        ("; module = wrong\n# module = wrong\nmodule = hello\n", "hello:app", "module"),
        ("wsgi-file = path/to/hello.py\n", "hello:app", "wsgi-file"),
        ("file = package/module.py\ncallable = app\n", "package.module:app", "file"),
        ("wsgi-file = site.wsgi\n", "site_wsgi:application", "wsgi-file"),
        ("chdir = %d/path\nwsgi-file = to/hello.py\n", "hello:app", "wsgi-file"),
        ("base = lib\npython-path = %(base)\nmodule = inside\n", "inside:app", "module"),
        ("socket = :80\n", "main:app", ""),
    ],
)
def test_uwsgi_ini(tmp_path: Path, ini: str, name: str, option: str) -> None:
    files = {
        **HELLO,
        "main.py": wsgi("app", "app") + wsgi("application", "application"),
        "site.wsgi": wsgi("application"),
        "lib/inside.py": "import words\n" + wsgi("app"),
        "lib/words.py": "",
        "uwsgi.ini": f"[uwsgi]\n{ini}",
    }
    found = locate(tmp_path, files)
    reason = found.get("reason", "")
    assert found.get("name") == name, found
    assert reason.startswith(f"{option}=" if option else "the usual names"), reason
    assert reason.endswith(f" in {tmp_path}{'/uwsgi.ini' if option else ''}"), reason


def test_uwsgi_ini_of_another_name(tmp_path: Path) -> None:
    files = {"deploy/site.ini": "[uwsgi]\nmodule = hello\n", "hello.py": wsgi("app")}
    for path in ("deploy/site.ini", f"{tmp_path}/deploy/site.ini"):
        from_supervisor = locate(tmp_path, files, options={"ini": path})
        for found in (locate(tmp_path, files, UWSGI_INI=path), from_supervisor):
            assert found.get("reason") == f"module='hello' in {tmp_path}/deploy/site.ini", found


def test_uwsgi_ini_changes_the_folder(tmp_path: Path) -> None:
    text = "import os\nSEEN = os.getcwd().encode()\ndef app(e, s):\n    return [SEEN]\n"
    files = {"uwsgi.ini": "[uwsgi]\nchdir = site\nmodule = hello\n", "site/hello.py": text}
    assert locate(tmp_path, files)["says"] == f"{tmp_path}/site"


# --- an empty folder -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "app_module", "name"),
    [
        ({}, "", "app:app"),
        # What is there is served, or nothing is.
        ({"app/wsgi.py": wsgi("app")}, "", "wsgi:app"),
        ({"app/.hidden": ""}, "", None),
        # A setting that names a package of /opt/venv.
        ({}, "wsgiref.simple_server:demo_app", "wsgiref.simple_server:demo_app"),
        ({}, "shop:app", None),
    ],
)
def test_an_empty_folder_serves_the_sample(
    tmp_path: Path, files: dict[str, str], app_module: str, name: str | None
) -> None:
    (tmp_path / "app").mkdir()
    write_files(tmp_path, {"sample/app.py": wsgi("app"), **files})
    sample = f"find_app.SAMPLE = Path('{tmp_path}/sample')"
    program = PROGRAM.replace("os.chdir(", f"{sample}\nos.chdir(")
    program = program.replace("b''.join(application({}, print)).decode()", "''")
    found = run_python(program, f"{tmp_path}/app", "{}", env={"APP_MODULE": app_module})
    assert found.get("name") == name, found
    said = f"the image's sample, because {tmp_path}/app is empty"
    assert (found.get("reason") == said) == (not files and not app_module)
