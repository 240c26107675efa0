"""Static files: those that Flask sends itself, and whether any of them may change."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, send_file

from docker_flask.shared.static_files import StaticFiles
from docker_flask.worker.hooks import static_guard
from docker_flask.worker.middleware.files import File


@pytest.mark.parametrize("prefix", ["/static", "/pages"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("style.css", 200),
        ("inside.css", 200),
        (".well-known/change", 200),
        ("outside.txt", 404),
        ("folder/secret.txt", 404),
        ("out..side.txt", 404),
        ("fol..der/secret.txt", 404),
        ("in..side.css", 200),
        (".env", 404),
        (".git/config", 404),
        ("server.KEY", 404),
        ("server.KEY/", 404),  # Flask finds the file
        ("none.css", 404),
    ],
)
def test_what_is_sent(tmp_path: Path, prefix: str, name: str, status: int) -> None:
    static = tmp_path / "static"
    for file in ("style.css", ".well-known/change", ".env", ".git/config", "server.KEY"):
        (static / file).parent.mkdir(parents=True, exist_ok=True)
        (static / file).write_text("text")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.txt").write_text("secret")
    for dots in ("", ".."):
        (static / f"in{dots}side.css").symlink_to("style.css")
        (static / f"out{dots}side.txt").symlink_to("../elsewhere/secret.txt")
        (static / f"fol{dots}der").symlink_to("../elsewhere", target_is_directory=True)
    app = Flask("shop", static_folder=str(static))
    pages = Blueprint("pages", "shop", static_folder=str(static), static_url_path="/pages")
    app.register_blueprint(pages)
    static_guard.protect(app)
    client = app.test_client()
    for _ in range(2):
        with client.get(f"{prefix}/{name}") as answer:
            assert answer.status_code == status


def test_a_link_that_comes_between_the_check_and_the_open(tmp_path: Path) -> None:
    static = tmp_path / "static"
    static.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    app = Flask("shop", static_folder=str(static))
    send = app.view_functions["static"]

    def late(filename: str) -> Any:
        (static / filename).unlink()
        (static / filename).symlink_to("../secret.txt")
        return send(filename=filename)

    app.view_functions["static"] = late
    static_guard.protect(app)
    # The servers' wrappers, and that of the image.
    for wrapper in (lambda file, size: iter([file.read()]), File):
        for headers in ({}, {"Range": "bytes=0-2"}):
            (static / "file.txt").unlink(missing_ok=True)
            (static / "file.txt").write_text("text")
            environ = {"wsgi.file_wrapper": wrapper}
            answer = app.test_client().get(
                "/static/file.txt", headers=headers, environ_overrides=environ
            )
            assert answer.status_code == 404


def test_a_view_of_the_application_may_send_other_files(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "cached.css").write_text("text")
    app = Flask("shop", static_folder=str(tmp_path / "static"))
    files: dict[str, Any] = {
        "file.css": str(tmp_path / "cached.css"),
        "memory.css": io.BytesIO(b"text"),
    }
    send: dict[str, Any] = {"static": lambda filename: send_file(files[filename], "text/css")}
    app.view_functions.update(send)
    static_guard.protect(app)
    for name in files:
        with app.test_client().get(f"/static/{name}") as answer:
            assert (answer.status_code, answer.data) == (200, b"text")


@pytest.mark.parametrize(("written", "may_change"), [("", False), ("a/b/.", True), ("a/b/c", True)])
def test_what_the_user_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, may_change: bool
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    writable = str(tmp_path / written) if written else ""
    monkeypatch.setattr("os.access", lambda path, _: path == writable)
    assert StaticFiles("/static", str(tmp_path)).looked_at().may_change is may_change


@pytest.mark.parametrize(
    ("link", "mode", "user", "writable", "follows"),
    [
        (True, 0o755, 1, "", True),
        (False, 0o755, 1, "", False),
        (True, 0o755, 0, "", False),
        (True, 0o775, 1, "", False),
        (True, 0o1757, 1, "", False),
        (True, 0o755, 1, "a", False),
    ],
)
def test_which_links_nginx_follows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    link: bool,
    mode: int,
    user: int,
    writable: str,
    follows: bool,
) -> None:
    """user: 0 for the owner of the folder."""
    (tmp_path / "a").mkdir()
    if link:
        (tmp_path / "link").symlink_to("a")
    (tmp_path / "a").chmod(mode)
    own = tmp_path.stat().st_uid + user
    monkeypatch.setattr("os.geteuid", lambda: own)
    monkeypatch.setattr("os.access", lambda path, _: path == str(tmp_path / writable))
    assert StaticFiles("/static", str(tmp_path)).looked_at().follows_links is follows
