"""What the log says if an application can't be loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docker_flask.discovery import find_app, load_errors


def report(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> str:
    """The report for an application with these files (`__` for a dot)."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("app", "shop_lib"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(Exception, match=r".") as caught:
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


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("import distutils\n", "add setuptools to requirements.txt"),
        ("import flask.nothing\n", "flask has no module flask.nothing"),
        ("from werkzeug.urls import url_quote\n", "APP/app.py does not work with Werkzeug 3."),
        ("from statistics import mean\n", "APP/statistics.py has the name of a module of Python"),
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
    assert hint.startswith("docker-flask: shop_lib does not work with Werkzeug 3.")
    assert hint.endswith(": add Werkzeug<3 to requirements.txt and build the image again")


def test_other_errors_keep_their_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('bad') from e\n"
    said = report(tmp_path, monkeypatch, app__py=text)
    assert "ZeroDivisionError" in said
    assert said.endswith("ValueError: bad")
    assert "docker_flask" not in said
