"""The folder of static files: whether what is in it may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask import static_files
from docker_flask.static_files import NOWHERE, StaticFiles


@pytest.mark.parametrize(("written", "may_change"), [("", False), ("a/b", True), ("a/b/c", True)])
def test_what_the_user_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, may_change: bool
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    writable = str(tmp_path / written) if written else ""
    monkeypatch.setattr("os.access", lambda path, _: path == writable)
    assert StaticFiles("/static", str(tmp_path)).may_change() is may_change


def test_too_many_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert StaticFiles("/static", str(tmp_path)).may_change() is False
    monkeypatch.setattr(static_files, "MAX_CHECKS", 3)
    assert StaticFiles("/static", str(tmp_path)).may_change() is True
    assert StaticFiles("/static", str(tmp_path / "later")).may_change() is True
    assert StaticFiles("/static", NOWHERE).may_change() is False
