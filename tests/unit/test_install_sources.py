"""What INSTALL_ON_START=1 reads, and what the service user could write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docker_flask.install_sources import all_read, first_writable
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
    "Pipfile.lock": '{"x": {"path": "./fourth"}}',
    "other/a": "",
    "third/b": "",
    "fourth/c": "",
    "uploads/picture.png": "",
    "app.py": "",
}
NOT_READ = {"comment.txt", "after.txt", "uploads/picture.png", "app.py"}


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
    assert first_writable(all_read(folder)) == (str(folder / found) if found else "")
