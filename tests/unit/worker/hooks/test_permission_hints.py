"""What the log says when an application can't write, without a file system that refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.worker.hooks import permission_hints
from tests.support.harness import run_python


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application's folder: only ours.log can be written, and secret.txt can't be read."""
    folder = tmp_path / "app"
    (folder / "uploads").mkdir(parents=True)
    for name in ("app.py", "app.db", "secret.txt", "ours.log", "uploads/.gitkeep"):
        (folder / name).touch()
    access = os.access

    def refuse(path: str, mode: int) -> bool:
        refused = {"secret.txt": os.R_OK, "ours.log": 0}.get(Path(path).name, os.W_OK)
        return not (mode & refused and str(path).startswith(str(folder))) and access(path, mode)

    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(permission_hints, "_explained", set())
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


LINK = "RUN ln -sf /data/app.db APP/app.db "
FOLDER = f"RUN mkdir -p APP/{{0}} && chown -R {os.geteuid()} APP/{{0}}, "


@pytest.mark.parametrize(
    ("error", "path", "command"),
    [
        (refused("app.db"), "app.db", LINK),
        (refused("new.db", errno.EROFS), "new.db", LINK.replace("app.db", "new.db")),
        (refused("two words.db"), "two words.db", "ln -sf '/data/two words.db' 'APP/two words.db'"),
        (refused("logs"), "logs", FOLDER.format("logs")),
        (refused("shop/../.cache"), ".cache", FOLDER.format(".cache")),
        (refused("uploads/a.png"), "uploads/a.png", FOLDER.format("uploads")),
        (refused("uploads/7f"), "uploads/7f", FOLDER.format("uploads")),
        (OSError(errno.EACCES, "", "app.py", None, "app.db"), "app.db", LINK),
        (refused("instance"), "instance", "RUN ln -s /data/instance APP/instance "),
        (refused("src/instance/a.db"), "src/instance/a.db", "ln -s /data/instance APP/src/ins"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_command_fits_the_path(app: Path, error: OSError, path: str, command: str) -> None:
    hint = permission_hints.of_error(error)
    assert f" can't write {app}/{path}; " in hint
    assert f"{command.replace('APP', str(app))}" in hint
    assert permission_hints.of_error(error) == "", "once"
    assert permission_hints.of_error(error, again=True) == hint


def test_the_reason_behind_an_error(app: Path) -> None:
    def load() -> None:
        try:
            try:
                raise refused("app.db")
            except OSError as error:
                raise ValueError("bad configuration") from error
        except ValueError:
            raise RuntimeError("no application")  # noqa: B904 (as applications do)

    assert f"can't write {app}/app.db" in permission_hints.of_error(raised(load))


@pytest.mark.parametrize("text", permission_hints.DATABASE)
def test_sqlite_names_no_path(app: Path, text: str) -> None:
    hint = permission_hints.of_error(sqlite3.OperationalError(text))
    assert f" can't write {permission_hints.DATABASE[text]}; if it is {app}/app.db, add " in hint
    assert LINK.replace("APP", str(app)) in hint


def test_another_error_of_sqlite_is_none_of_rights(app: Path) -> None:
    assert not permission_hints.of_error(sqlite3.OperationalError("no such table: post"))


VOLUMES_FROM = "docker run --rm --user root --volumes-from CONTAINER $(docker inspect -f"
ME = os.geteuid()


@pytest.mark.parametrize(
    ("path", "owner", "advice"),
    [
        (
            "uploads/a.png",
            0,
            f"{VOLUMES_FROM} '{{{{.Image}}}}' CONTAINER) chown -R {ME} APP/uploads",
        ),
        ("logs/new", 0, f"'{{{{.Image}}}}' CONTAINER) install -d -o {ME} APP/logs/new (docs"),
        (
            "uploads/a.png",
            1000,
            "APP/uploads belongs to uid 1000: start the container with --user 1",
        ),
        ("uploads/a.png", None, "; mount APP without :ro (docs"),
    ],
)
def test_a_mounted_folder(
    app: Path, monkeypatch: pytest.MonkeyPatch, path: str, owner: int | None, advice: str
) -> None:
    flags = os.statvfs(app).f_flag | (os.ST_RDONLY if owner is None else 0)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flags))
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in ("/", str(app)))
    if owner:
        os.chown(app / "uploads", owner, owner)
    assert advice.replace("APP", str(app)) in permission_hints.of_error(refused(path))


# --- the log -----------------------------------------------------------------------------------

# Logs the same refused write twice. sys.argv: what sets up the log, and what logs. Prints the lines
# of the log, and the number of handlers that the image has added.
LOGS = """
import contextlib, io, json, logging, os, sys
from flask import Flask
from docker_flask.worker.hooks import permission_hints

access = os.access
os.access = lambda path, mode: mode != os.W_OK and access(path, mode)
stream = sys.stderr = io.StringIO()
logging.lastResort.setStream(stream)
exec(sys.argv[1])
permission_hints.watch("app")
added = len(logging.getLogger().handlers + logging.getLogger("app").handlers)
for _ in range(2):
    try:
        raise PermissionError(13, "Permission denied", "app.db")
    except OSError:
        exec(sys.argv[2])
print(json.dumps([stream.getvalue().splitlines(), added]))
"""
VIEWS = "logging.getLogger('app.views')"
FLASK = "Flask('app').logger"


@pytest.mark.parametrize(
    ("set_up", "logs", "handlers"),
    [
        ("", f"{FLASK}.exception('x')", 0),
        ("", f"{VIEWS}.exception('x')", 0),
        ("", "logging.exception('x')", 0),
        (f"{FLASK}", f"{VIEWS}.exception('x')", 1),
        ("logging.basicConfig(stream=stream)", f"{VIEWS}.exception('x')", 1),
        ("logging.basicConfig(stream=stream)", f"{FLASK}.exception('x')", 1),
    ],
)
def test_an_exception_that_is_logged_ends_with_the_line(
    set_up: str, logs: str, handlers: int
) -> None:
    lines, added = run_python(LOGS, set_up, logs)
    (found,) = [number for number, line in enumerate(lines) if "can't write" in line]
    assert lines[found].startswith("docker-flask: the application runs as uid ")
    assert lines[found - 1].startswith("PermissionError: ")
    assert sum(line.startswith("PermissionError: ") for line in lines) == 2
    assert added == handlers, "none of the image"


@pytest.mark.parametrize(("level", "count"), [("info", 0), ("warning", 1), ("error", 1)])
def test_a_sentence_about_an_exception_has_the_line_before_it(level: str, count: int) -> None:
    set_up = "logging.basicConfig(stream=stream, level=logging.INFO)"
    lines, _ = run_python(LOGS, set_up, f"{VIEWS}.{level}('not stored')")
    hints = [number for number, line in enumerate(lines) if "can't write" in line]
    assert hints == [0] * count
    assert sum(line.endswith("not stored") for line in lines) == 2
