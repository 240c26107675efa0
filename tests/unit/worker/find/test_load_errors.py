"""What the log says if an application can't be loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docker_flask.worker.find import find_app, load_errors


def report(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> str:
    """The report for an application with these files (`__` for a dot)."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("app", "shop_lib"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises((Exception, SystemExit), match=r".") as caught:
        find_app.load(folder)
    assert caught.value.__traceback__
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # without this function
    return load_errors.report(error).replace(str(folder), "APP")


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({}, "shop_lib is not installed: add its package, which may have another name, to "),
        ({"requirements__txt": "shop-lib==1\n"}, "though APP/requirements.txt names it: build"),
        ({"uv__lock": 'name = "shop-lib"\n'}, "though APP/uv.lock names it: build the image"),
    ],
)
def test_a_module_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], hint: str
) -> None:
    lines = report(tmp_path, monkeypatch, app__py="import shop_lib\n", **files).splitlines()
    assert lines[:2] == [
        "Traceback (most recent call last):",
        '  File "APP/app.py", line 1, in <module>',
    ]
    assert lines[-2] == "ModuleNotFoundError: No module named 'shop_lib'"
    assert lines[-1].startswith("docker-flask: shop_lib is not installed")
    assert hint in lines[-1]


MISSING = "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')\n"
LIBRARY = "raise OSError('{}: cannot open shared object file: No such file or directory')\n"
EXIT = "def start():\n    {}\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    start()\n"
ENDED = "APP/app.py, line 2, ended the application after ZeroDivisionError: division by zero"
OLD = "add to requirements.txt: `Flask<3`, `Werkzeug<3`"
OLDER = "add to requirements.txt: `Flask<2.3`, `Werkzeug<3`"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("import distutils\n", "no longer has distutils: add setuptools to requirements.txt"),
        (
            MISSING.format("cgi"),
            "no longer has cgi: add legacy-cgi to requirements.txt and build the image again",
        ),
        (MISSING.format("lib2to3"), "no longer has lib2to3: no package has it"),
        (
            MISSING.format("pkg_resources"),
            "no longer has pkg_resources: add to requirements.txt: `setup",
        ),
        ("import flask.nothing\n", "flask has no module flask.nothing"),
        ("from statistics import mean\n", "APP/statistics.py has the name of a module of Python"),
        ("from flask import escape\n", f"escape: import it from markupsafe, or {OLD}"),
        ("import flask.ext.login\n", "flask no longer has ext: add to requirements.txt: `Flask<2`"),
        ("import flask\nflask.json.JSONEncoder\n", f"use flask.json.provider, or {OLDER}"),
        ("import flask\nflask.Flask('a').before_first_request\n", "made, with app.app_context()"),
        ("from werkzeug.urls import url_quote\n", f"url_quote: use urllib.parse, or {OLD}"),
        ("from werkzeug import secure_filename\n", "its own module, such as werkzeug.utils"),
        ("from werkzeug.security import safe_str_cmp\n", "safe_str_cmp: add to requirements.txt:"),
        ("from werkzeug.contrib.fixers import ProxyFix\n", "werkzeug no longer has contrib: use"),
        ("from jinja2 import Markup\n", "import it from markupsafe, or add to"),
        ("from jinja2 import contextfilter\n", "contextfilter: use pass_context, pass_env"),
        ("from itsdangerous import JSONWebSignatureSerializer\n", "use URLSafeTimedSerializer"),
        ("from markupsafe import soft_unicode\n", "use soft_str, or add to requirements.txt:"),
        ("from flask import nothing\n", "ImportError: cannot import name 'nothing' from 'flask'"),
        (LIBRARY.format("libGL.so.1"), "libGL.so.1 is not in the image: add libgl1 to requiremen"),
        (LIBRARY.format("libpango-1.0-0"), "add libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-s"),
        (LIBRARY.format("libown.so.3"), "add its Debian package to requirements_os.txt"),
        ("raise ImportError('failed to find libmagic.  Check')\n", "add libmagic1 to"),
        (EXIT.format("exit(1)"), ENDED),
        (EXIT.format("import argparse; argparse.ArgumentParser().parse_args(['-x'])"), ENDED),
        (EXIT.format("raise SystemExit('no database')"), "SystemExit: no database"),
    ],
)
def test_other_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, hint: str
) -> None:
    files = {"statistics__py": ""} if "statistics" in text else {}
    if files:
        monkeypatch.delitem(sys.modules, "statistics", raising=False)
    monkeypatch.setitem(sys.modules, "distutils", None)
    assert hint in report(tmp_path, monkeypatch, app__py=text, **files).splitlines()[-1]


def test_flask_2_0_with_werkzeug_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/shop_lib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from werkzeug.urls import url_quote\n")
    monkeypatch.syspath_prepend(package.parent)
    hint = report(tmp_path, monkeypatch, app__py="import shop_lib\n").splitlines()[-1]
    assert "url_quote: take a newer version of shop_lib, or add" in hint
    assert hint.endswith("`Werkzeug<3`")


def test_other_errors_keep_their_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('bad') from e\n"
    said = report(tmp_path, monkeypatch, app__py=text)
    assert "ZeroDivisionError" in said
    assert said.endswith("ValueError: bad")
    assert "docker_flask" not in said


def test_a_package_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    for name, text in {
        "flask_old": "from flask import Markup",
        "older": "from re import Old",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    said = report(tmp_path, monkeypatch, app__py="import flask_old\n")
    assert said.endswith("flask no longer has Markup: take a newer version of flask_old, or " + OLD)
    said = report(tmp_path, monkeypatch, app__py="import older\n")
    assert said.endswith(" no longer has re.Old: take a newer version of older")


def test_a_program_with_its_own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    monkeypatch.setitem(sys.modules, "flask", None)
    assert "streamlit" not in report(tmp_path, monkeypatch, app__py="import sys\n")
    monkeypatch.delitem(sys.modules, "flask")
    lines = report(tmp_path, monkeypatch, app__py="import sys\n").splitlines()
    assert lines[0].startswith("no WSGI callable in APP: none of ")
    assert lines[1].startswith(
        "docker-flask: APP/app.py is a program with streamlit, which has its"
    )
    assert lines[1].endswith("docker run -p 8501:8501 IMAGE run streamlit run app.py")
