"""What INSTALL_ON_START=1 reads, and what the service user could write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docker_flask.cli.install_sources import all_read, first_writable
from tests.support.harness import write_files

FILES = {
    "requirements.txt": "# -r comment.txt\nflask>=3 # -r after.txt\n-r more.txt\n"
    "--requirement=sub/glued.txt\n-cbounds.txt\n-e ./local[extra]\nwheel @ file:wheels/one.whl\n",
    "comment.txt": "",
    "after.txt": "",
    "more.txt": "-e file:///app/none\n-r sub/deeper.txt\n",
    "sub/glued.txt": "-r beside.txt\n",
    "sub/beside.txt": "",
    "sub/deeper.txt": "",
    "bounds.txt": "",
    "local/setup.py": "",
    "local/pkg/__init__.py": "",
    "wheels/one.whl": "",
    "poetry.lock": 'name = "uploads"\nurl = "other"\n',
    "uv.lock": 'source = { editable = "." }\nsource = { directory = "third" }\n',
    "uv.toml": "",
    "Pipfile.lock": '{"x": {"path": "./fourth"}}',
    "other/a": "",
    "third/b": "",
    "fourth/c": "",
    "uploads/picture.png": "",
    "app.py": "",
}
NOT_READ = {"comment.txt", "after.txt", "uploads/picture.png", "app.py"}
# A uid that owns nothing here.
OTHER = 54_321


def test_all_that_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    (tmp_path / "local" / "loop").symlink_to(tmp_path / "local")
    read = {str(each.relative_to(tmp_path)) for each in all_read(tmp_path)}
    assert {*FILES} - NOT_READ <= read
    assert not NOT_READ & read


def test_a_file_of_windows_shell(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r more.txt\r\n", encoding="utf-16")
    (tmp_path / "more.txt").touch()
    assert tmp_path / "more.txt" in all_read(tmp_path)


@pytest.mark.parametrize(
    ("writable", "found"),
    [
        (set(), ""),
        ({"sub/deeper.txt"}, "sub/deeper.txt"),
        ({"sub"}, "sub"),
        ({"."}, "."),
        ({"sticky"}, ""),
        ({"real"}, "real"),
        ({"uploads"}, ""),
    ],
    ids=str,
)
def test_what_the_application_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: set[str], found: str
) -> None:
    folder = tmp_path.resolve()
    write_files(folder, FILES)
    write_files(folder, {"sticky/f.txt": "", "real/g.txt": ""})
    (folder / "sticky").chmod(0o1777)
    (folder / "link.txt").symlink_to(folder / "real" / "g.txt")
    (folder / "requirements_os.txt").write_text("-r sticky/f.txt -r link.txt")
    paths = {str(folder / each) for each in writable}
    monkeypatch.setattr(os, "access", lambda path, _: str(path) in paths)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert first_writable(all_read(folder)) == (str(folder / found) if found else "")


@pytest.mark.parametrize("owned", ["file", "folder", "link", "way"])
def test_what_the_application_owns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: str
) -> None:
    """Its owner may change the mode of a file, and replace a link in a sticky folder."""
    folder = tmp_path.resolve()
    write_files(folder, {"app/requirements.txt": "-r ../all/link/more.txt", "real/more.txt": ""})
    (folder / "all").mkdir()
    (folder / "all/way").symlink_to(folder / "real")
    (folder / "all/link").symlink_to("way")
    (folder / "all").chmod(0o1777)
    names = {"file": "app/requirements.txt", "folder": "real", "link": "all/link", "way": "all/way"}
    path = folder / names[owned]
    inode = os.lstat(path).st_ino
    monkeypatch.setattr(os, "access", lambda path, _: os.path.realpath(path) == f"{folder}/all")
    status, lstat = os.stat, os.lstat
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    read = all_read(folder / "app")
    assert first_writable(read) == ""

    def owned_by_application(found: os.stat_result) -> os.stat_result:
        is_owned = found.st_ino == inode
        return os.stat_result([*found[:4], OTHER, *found[5:]]) if is_owned else found

    monkeypatch.setattr(os, "stat", lambda p, **more: owned_by_application(status(p, **more)))
    monkeypatch.setattr(os, "lstat", lambda p, **more: owned_by_application(lstat(p, **more)))
    assert os.path.realpath(first_writable(read)) == os.path.realpath(path)
    is_read_only = os.statvfs_result([0] * 8 + [os.ST_RDONLY, 255])
    monkeypatch.setattr(os, "statvfs", lambda _: is_read_only)
    assert bool(first_writable(read)) == path.is_symlink()
