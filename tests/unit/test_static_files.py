"""Static files: those that Flask sends itself, and whether any of them may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Blueprint, Flask

from docker_flask.static_files import StaticFiles
from docker_flask.worker import static_guard


@pytest.mark.parametrize("prefix", ["/static", "/pages"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("style.css", 200),
        ("inside.css", 200),
        (".well-known/change", 200),
        ("outside.txt", 404),
        ("folder/secret.txt", 404),
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
    (static / "inside.css").symlink_to("style.css")
    (static / "outside.txt").symlink_to("../elsewhere/secret.txt")
    (static / "folder").symlink_to("../elsewhere", target_is_directory=True)
    app = Flask("shop", static_folder=str(static))
    pages = Blueprint("pages", "shop", static_folder=str(static), static_url_path="/pages")
    app.register_blueprint(pages)
    static_guard.protect(app)
    client = app.test_client()
    for _ in range(2):
        with client.get(f"{prefix}/{name}") as answer:
            assert answer.status_code == status


@pytest.mark.parametrize(("written", "may_change"), [("", False), ("a/b/.", True), ("a/b/c", True)])
def test_what_the_user_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, may_change: bool
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    writable = str(tmp_path / written) if written else ""
    monkeypatch.setattr("os.access", lambda path, _: path == writable)
    assert StaticFiles("/static", str(tmp_path)).may_change() is may_change
