"""Source files: which count, and what is an edit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from docker_flask.debug.source_watcher import SourceWatcher

HOUR = 3600 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with some source in it."""
    (tmp_path / "shop" / "parts").mkdir(parents=True)
    for name in ("app.py", "shop/__init__.py", "shop/parts/words.py"):
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


@pytest.fixture
def sources(folder: Path) -> SourceWatcher:
    """That folder, remembered."""
    made = SourceWatcher(str(folder))
    made.remember()
    return made


def names(folder: Path) -> set[str]:
    """What is looked at, as paths below the folder."""
    return {os.path.relpath(path, folder) for path in SourceWatcher(str(folder)).scan()}


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def make_older(file: Path) -> None:
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns - HOUR))


def write_at_the_same_time(file: Path) -> None:
    before = file.stat()
    file.write_text("x = 10\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


# --- which files -----------------------------------------------------------------------------


def test_source_counts(folder: Path) -> None:
    touch(folder, ".env", ".flaskenv", "uwsgi.ini", "one/two/three/four.py", "_private/x.py")
    touch(folder, "de/LC_MESSAGES/messages.mo", "config.yaml", "config.yml", "config.toml")
    assert names(folder) == {
        "app.py",
        "shop/__init__.py",
        "shop/parts/words.py",
        ".env",
        ".flaskenv",
        "uwsgi.ini",
        "one/two/three/four.py",
        "_private/x.py",
        "de/LC_MESSAGES/messages.mo",
        "config.yaml",
        "config.yml",
        "config.toml",
    }


def test_what_others_wrote_does_not_count(folder: Path) -> None:
    before = names(folder)
    touch(folder, ".git/x.py", ".venv/lib/x.py", "node_modules/a/x.py", "__pycache__/x.py")
    touch(
        folder,
        "venv/lib/python3/site-packages/x.py",
        "page.html",
        "data.json",
        ".app.py.swp",
        "app.py~",
    )
    (folder / ".#app.py").symlink_to("somebody@host.1234")  # Emacs
    (folder / "linked").symlink_to(folder)
    assert names(folder) == before


# --- what is an edit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda file: file.write_text("x = 2\n"),
        lambda file: file.unlink(),
        lambda file: file.rename(file.with_name("zoo.py")),
        lambda file: file.chmod(0o600),
        make_older,
        write_at_the_same_time,
    ],
    ids=["written", "deleted", "renamed", "made readable", "older", "as old"],
)
def test_edits(sources: SourceWatcher, folder: Path, edit: Callable[[Path], object]) -> None:
    file = folder / "shop/parts/words.py"
    assert sources.edited() is None
    make_older(file)
    sources.remember()
    edit(file)
    assert sources.edited() == str(file)
    sources.remember()
    assert sources.edited() is None


def test_new_files_and_folders_are_edits(sources: SourceWatcher, folder: Path) -> None:
    touch(folder, "new/package/__init__.py")
    assert sources.edited() == str(folder / "new/package/__init__.py")
    sources.remember()
    (folder / "new").rename(folder / "newer")
    assert sources.edited() == str(folder / "new/package/__init__.py")
