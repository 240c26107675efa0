"""Which callable is found in a folder: each convention in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLASK = "from flask import Flask\n"
APP = FLASK + "app = Flask(__name__)\n"
FACTORY = FLASK + "def create_app():\n    return Flask(__name__)\n"
# A WSGI callable without Flask, which says who it is.
WSGI = "def {name}(environ, start_response):\n    return [b'{says}']\n"

# Prints {"name", "says", "reason"} or {"error", "message"}. `says`: the body, for Flask its name.
PROGRAM = """
import json, os, sys
from pathlib import Path
from docker_flask import locate

os.environ["FLASK_RUN_FROM_CLI"] = "true"
try:
    found = locate.load(Path(sys.argv[1]), json.loads(sys.argv[2]))
    application = found.application
    says = getattr(application, "import_name", None)
    if says is None:
        says = b"".join(application({}, print)).decode()
    answer = {"name": found.name, "says": says, "reason": found.reason}
except BaseException as error:
    answer = {"error": type(error).__name__, "message": str(error)}
print("\\n" + json.dumps(answer))
"""


def wsgi(name: str, says: str = "here") -> str:
    return WSGI.format(name=name, says=says)


def locate(folder: Path, files: dict[str, str], app_module: str | None = None) -> dict[str, Any]:
    """What is found in a folder with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(app_module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("file", ["app.py", "wsgi.py", "main.py"])
@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (APP, "app"),
        (FLASK + "application = Flask(__name__)\n", "application"),
        (FLASK + "shop = Flask(__name__)\n", "shop"),
        (FACTORY, "create_app()"),
        (FLASK + "def make_app(config=None):\n    return Flask(__name__)\n", "make_app()"),
        (FLASK + "def create_app(*names, **more):\n    return Flask(__name__)\n", "create_app()"),
    ],
    ids=lambda text: text if "\n" not in text else "",
)
def test_usual_names(tmp_path: Path, file: str, text: str, expression: str) -> None:
    found = locate(tmp_path, {file: text})
    module = file.removesuffix(".py")
    assert found == {
        "name": f"{module}:{expression}",
        "says": module,
        "reason": f"the usual names in {tmp_path}",
    }


@pytest.mark.parametrize("expression", ["app", "application"])
def test_any_wsgi_callable(tmp_path: Path, expression: str) -> None:
    assert locate(tmp_path, {"app.py": wsgi(expression)})["says"] == "here"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        # app.py before wsgi.py before main.py; what is only a helper is passed over.
        ({"app.py": wsgi("app"), "wsgi.py": wsgi("app"), "main.py": wsgi("app")}, "app:app"),
        ({"wsgi.py": wsgi("app"), "main.py": wsgi("app")}, "wsgi:app"),
        ({"app.py": "HELPER = 1\n", "main.py": wsgi("app")}, "main:app"),
        # A ready application before a factory; a variable of that name is no application.
        ({"app.py": wsgi("app") + "def create_app():\n    return None\n"}, "app:app"),
        ({"app.py": "app = 'a name'\n" + wsgi("application")}, "app:application"),
        # A factory that wants arguments can't be called.
        ({"app.py": "def create_app(config): ...\n", "wsgi.py": wsgi("app")}, "wsgi:app"),
        # A package.
        ({"app/__init__.py": wsgi("app")}, "app:app"),
        ({"app/__init__.py": "", "app/main.py": wsgi("app")}, "app.main:app"),
        ({"app/__init__.py": "", "app/app.py": wsgi("app")}, "app.app:app"),
        ({"app/main.py": wsgi("app")}, "app.main:app"),
        ({"shop/__init__.py": APP}, "shop:app"),
        ({"shop/__init__.py": wsgi("app")}, "shop:app"),
        ({"shop/__init__.py": FACTORY}, "shop:create_app()"),
        (
            {"shop/__init__.py": "from .web import app\n", "shop/web.py": wsgi("app")},
            "shop:app",
        ),
        # A package beside others that are none of the application.
        (
            {
                "shop/__init__.py": APP,
                "lib/__init__.py": "",
                "tests/__init__.py": "import os\n",
            },
            "shop:app",
        ),
        # The usual names before a package of another name.
        ({"shop/__init__.py": APP, "wsgi.py": "from shop import app\n"}, "wsgi:app"),
        # src layout.
        ({"src/app.py": wsgi("app")}, "app:app"),
        ({"src/shop/__init__.py": APP}, "shop:app"),
        ({"src/shop/__init__.py": "", "src/app.py": "import shop\n" + wsgi("app")}, "app:app"),
    ],
)
def test_order_and_packages(tmp_path: Path, files: dict[str, str], name: str) -> None:
    found = locate(tmp_path, files)
    assert found.get("name") == name, found


@pytest.mark.parametrize(
    "files",
    [
        {
            "__init__.py": FLASK + "app = Flask(__name__)\nfrom app import views\n",
            "views.py": "from app import app\n",
        },
        {
            "__init__.py": FLASK + "app = Flask(__name__)\nfrom . import views\n",
            "views.py": "from . import app\n",
        },
    ],
    ids=["from app import app", "relative"],
)
def test_the_folder_is_the_package(tmp_path: Path, files: dict[str, str]) -> None:
    found = locate(tmp_path / "app", files)
    assert (found.get("name"), found.get("says")) == ("app:app", "app"), found


def test_the_folder_is_the_package_with_its_application_in_a_module(tmp_path: Path) -> None:
    files = {"__init__.py": "", "app.py": "from .words import HERE\n" + wsgi("app"), "words.py": ""}
    files["words.py"] = "HERE = 1\n"
    assert locate(tmp_path / "app", files)["name"] == "app.app:app"


def test_modules_import_their_neighbours(tmp_path: Path) -> None:
    files = {"app.py": "import words\n" + wsgi("app"), "words.py": "", "src/more.py": ""}
    assert locate(tmp_path, files)["name"] == "app:app"


def test_app_run_at_top_level_does_not_serve(tmp_path: Path) -> None:
    for call in ("app.run()", "app.run(debug=True)", "app.run(host='0.0.0.0', port=5000)"):
        text = FLASK + f"app = Flask(__name__)\n{call}\n"
        assert locate(tmp_path, {"app.py": text})["name"] == "app:app"


@pytest.mark.parametrize(
    ("app_module", "says"),
    [
        ("shop.web:site", "site"),
        ("shop.web", "app"),
        ("shop.web:holder.inner", "inner"),
        ("shop.web:make()", "made one 1"),
        ("shop.web:make('two')", "made two 1"),
        ("shop.web:make('two', n=2)", "made two 2"),
        ("shop.web:make(n=[1, {'a': None}])", "made one [1, {'a': None}]"),
        ("inner.deep:app", "deep"),
    ],
)
def test_app_module(tmp_path: Path, app_module: str, says: str) -> None:
    files = {
        "app.py": wsgi("app", "not this one"),
        "shop/web.py": (
            wsgi("site", "site")
            + wsgi("app", "app")
            + "class holder:\n    inner = staticmethod(lambda e, s: [b'inner'])\n"
            + "def make(name='one', n=1):\n"
            + "    return lambda e, s: [f'made {name} {n}'.encode()]\n"
        ),
        "src/inner/deep.py": wsgi("app", "deep"),
    }
    found = locate(tmp_path, files, app_module)
    assert found.get("says") == says, found
    assert found["reason"] == "APP_MODULE"


@pytest.mark.parametrize(
    ("files", "app_module", "words"),
    [
        ({}, None, ["`app.py`", "`wsgi.py`", "`main.py`", "APP_MODULE="]),
        ({"README": ""}, None, ["`app.py`"]),
        ({"app.py": "x = 1\n"}, None, ["app hold", "`create_app`", "APP_MODULE="]),
        ({"app.py": "", "main.py": ""}, None, ["app, main hold"]),
        ({"app.py": "def create_app(config): ...\n"}, None, ["app hold"]),
        (
            {"app.py": FLASK + "one = Flask('one')\ntwo = Flask('two')\n"},
            None,
            ["several", "`one`, `two`", "APP_MODULE="],
        ),
        (
            {"one/__init__.py": APP, "two/__init__.py": FACTORY},
            None,
            ["several", "`one`, `two`", "APP_MODULE="],
        ),
        ({"app.py": "def create_app(): ...\n"}, None, ["app:create_app()", "NoneType"]),
        ({"shop.py": "x = 1\n"}, "shop:x", ["shop:x", "int"]),
        ({"shop.py": "x = 1\n"}, "shop:y", ["'y'", "shop"]),
        ({"shop.py": "x = 1\n"}, "shop", ["APP_MODULE='shop'"]),
    ],
)
def test_not_found(
    tmp_path: Path, files: dict[str, str], app_module: str | None, words: list[str]
) -> None:
    answer = locate(tmp_path, files, app_module)
    assert answer.get("error") == "NotFound", answer
    assert [word for word in words if word not in answer["message"]] == [], answer["message"]
    assert "\n" not in answer["message"]


@pytest.mark.parametrize(
    ("files", "app_module", "error", "message"),
    [
        ({"app.py": "raise RuntimeError('broken here')\n"}, None, "RuntimeError", "broken here"),
        ({"app.py": "import no_such_package\n"}, None, "ModuleNotFoundError", "no_such_package"),
        ({"app.py": "def f(:\n"}, None, "SyntaxError", "invalid syntax"),
        ({"app.py": "import sys\nsys.exit(4)\n"}, None, "SystemExit", "4"),
        ({"app.py": "def create_app():\n    1 / 0\n"}, None, "ZeroDivisionError", "division"),
        # Another file is not taken in its place.
        ({"app.py": "1 / 0\n", "main.py": wsgi("app")}, None, "ZeroDivisionError", "division"),
        ({}, "no_such_module:app", "ModuleNotFoundError", "no_such_module"),
    ],
)
def test_errors_of_the_application_pass_through(
    tmp_path: Path, files: dict[str, str], app_module: str | None, error: str, message: str
) -> None:
    answer = locate(tmp_path, files, app_module)
    assert answer.get("error") == error, answer
    assert message in answer["message"]


def test_factory_arguments_are_literals_only(tmp_path: Path) -> None:
    files = {"shop.py": "def make(name):\n    return lambda e, s: [name.encode()]\n"}
    trace = tmp_path / "trace"
    answer = locate(tmp_path, files, f"shop:make(open({str(trace)!r}, 'w'))")
    assert "error" in answer
    assert not trace.exists()
