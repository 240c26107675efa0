"""What the log says when an application can't write, without a file system that refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_flask.discovery import unwritable
from tests.support.harness import run_python


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application's folder, in which nothing can be written and secret.txt can't be read."""
    folder = tmp_path / "app"
    (folder / "uploads").mkdir(parents=True)
    for name in ("app.py", "app.db", "secret.txt", "uploads/.gitkeep"):
        (folder / name).touch()
    access = os.access

    def refuse(path: str, mode: int) -> bool:
        refused = os.R_OK if str(path).endswith("secret.txt") else os.W_OK
        return not (mode & refused and str(path).startswith(str(folder))) and access(path, mode)

    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(unwritable, "_told", set())
    monkeypatch.setattr(unwritable, "_databases", {})
    return folder


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def refused(path: str, number: int = errno.EACCES) -> BaseException:
    def write() -> None:
        raise OSError(number, os.strerror(number), path)

    return raised(write)


def refused_folder(path: str) -> BaseException:
    def makedirs() -> None:
        raise OSError(errno.EACCES, "", path)

    return raised(makedirs)


OWNER = ":".join(unwritable._owner())
INSTALL = "install -d -o {} -g {} ".format(*unwritable._owner())


@pytest.mark.parametrize(
    ("error", "path", "command"),
    [
        (refused("app.db"), "app.db", "ln -sf /data/app.db APP/app.db"),
        (refused("new.db", errno.EROFS), "new.db", "ln -sf /data/new.db APP/new.db"),
        (refused(".key"), ".key", "ln -sf /data/.key APP/.key"),
        (refused("two words"), "two words", "ln -sf '/data/two words' 'APP/two words'"),
        (refused_folder("logs"), "logs", f"{INSTALL}APP/logs"),
        (refused_folder("shop/../.cache"), ".cache", f"{INSTALL}APP/.cache"),
        (refused("uploads/a.png"), "uploads/a.png", f"chown -R {OWNER} APP/uploads"),
        (refused_folder("uploads/7f"), "uploads/7f", f"chown -R {OWNER} APP/uploads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_command_fits_the_path(app: Path, error: OSError, path: str, command: str) -> None:
    words = unwritable.advice(error)
    assert f" can't write {app}/{path}; " in words
    assert f"{command.replace('APP', str(app))}" in words
    assert unwritable.advice(error) == "", "once"


@pytest.mark.parametrize(
    "error",
    [
        refused("secret.txt"),  # to read
        refused("/dev/null"),  # writable: something else refused
        refused("app.db", errno.ENOSPC),
        FileNotFoundError(errno.ENOENT, "", "app.db"),
        PermissionError("of the application itself"),
        ValueError("app.db"),
        sqlite3.OperationalError("no such table: user"),
        sqlite3.OperationalError("unable to open database file"),  # of no path that was noted
    ],
    ids=repr,
)
def test_other_errors_get_no_advice(app: Path, error: BaseException) -> None:
    assert unwritable.advice(error) == ""


def test_the_reason_behind_an_error(app: Path) -> None:
    def load() -> None:
        try:
            try:
                raise refused("app.db")
            except OSError as error:
                raise ValueError("bad configuration") from error
        except ValueError:
            raise RuntimeError("no application")  # noqa: B904 (as applications do)

    assert f"can't write {app}/app.db" in unwritable.advice(raised(load))


@pytest.mark.parametrize("text", unwritable._SQLITE)
@pytest.mark.parametrize("database", ["app.db", b"app.db", Path("app.db"), "file:app.db?mode=rw"])
def test_sqlite_names_no_path(app: Path, text: str, database: object) -> None:
    unwritable._note(":memory:")
    unwritable._note(database)
    words = unwritable.advice(sqlite3.OperationalError(text))
    assert f"can't write {app}/app.db; " in words


PROGRAM = """
import json, sqlite3, sys
from docker_flask.discovery import unwritable
unwritable.watch()
{use}
print(json.dumps(list(unwritable._databases)))
"""


@pytest.mark.parametrize(
    "use",
    [
        "sqlite3.connect(sys.argv[1]).close()",
        "sqlite3.connect(database=sys.argv[1]).close()",
        "from sqlite3 import dbapi2\ndbapi2.connect(sys.argv[1], timeout=3).close()",
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["imported before", "imported later"])
def test_databases_are_noted(tmp_path: Path, use: str, first: bool) -> None:
    program = PROGRAM.format(use=use)
    if not first:
        program = program.replace("sqlite3, ", "").replace("watch()\n", "watch()\nimport sqlite3\n")
    path = str(tmp_path / "app.db")
    assert run_python(program, path) == [path]
