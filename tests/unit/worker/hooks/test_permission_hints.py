"""What the log says when an application can't write, without a file system that refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from docker_flask.worker.hooks import permission_hints


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
    monkeypatch.setattr(permission_hints, "_databases", {})
    monkeypatch.setattr(permission_hints, "_refused", {})
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


@pytest.mark.parametrize("text", permission_hints._SQLITE)
@pytest.mark.parametrize("database", ["app.db", b"app.db", Path("app.db"), "file:app.db?mode=rw"])
def test_sqlite_names_no_path(app: Path, text: str, database: object) -> None:
    for name in (":memory:", database):
        permission_hints._note("sqlite3.connect", (name,))
    hint = permission_hints.of_error(sqlite3.OperationalError(text))
    assert f"can't write {app}/app.db; " in hint


def test_a_folder_that_sqlite_lacks(app: Path, tmp_path: Path) -> None:
    permission_hints._note("sqlite3.connect", (tmp_path / "new/app.db",))
    hint = permission_hints.of_error(sqlite3.OperationalError(permission_hints._SQLITE[0]))
    assert hint.startswith(f"SQLite does not make folders, and {tmp_path}/new does not exist; add")
    assert f": mkdir -p {tmp_path}/new " in hint


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


@pytest.mark.parametrize(
    ("event", "given", "path", "command"),
    [
        ("open", ("logs/a.log", "w", os.O_WRONLY), "logs/a.log", "mkdir -p APP/logs"),
        ("os.mkdir", ("cache", 0o777, -1), "cache", "mkdir -p APP/cache"),
        ("os.symlink", ("/data/up", "link", -1), "link", "ln -sfn /data/up APP/link"),
        ("os.rename", ("new.log", "ours.log", -1, -1), "ours.log", "/data/ours.log APP/ours.log"),
        ("open", ("ours.log", "a", os.O_WRONLY), "", ""),
        ("open", ("app.py", "r", os.O_RDONLY), "", ""),
        ("os.mkdir", ("uploads", 0o777, -1), "", ""),
    ],
)
def test_a_write_whose_exception_is_hidden(
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    event: str,
    given: tuple[object, ...],
    path: str,
    command: str,
) -> None:
    permission_hints._note(event, given)
    assert not capsys.readouterr().err  # it loads, and may try
    for name, value in {"is_loaded": True, "_refused": {}, "DELAY": 0}.items():
        monkeypatch.setattr(permission_hints, name, value)
    permission_hints._note(event, given)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join()
    said = capsys.readouterr().err.replace(str(app), "APP")
    assert (f"can't write APP/{path}; " in said and command in said) if path else not said


def test_a_file_in_a_folder_that_does_not_exist(app: Path) -> None:
    permission_hints._note("open", ("logs/a.log", "w", os.O_WRONLY))
    missing = [FileNotFoundError(errno.ENOENT, "", name) for name in ("logs/a.log", "other.txt")]
    assert "can't write" in permission_hints.of_error(missing[0])
    assert not permission_hints.of_error(missing[1])
