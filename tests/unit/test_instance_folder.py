"""Flask's instance folder where the application's folder can't be written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import run_python

# Prints the instance path of an application, and what the folder holds. sys.argv: the application's
# folder, the volume, and what can't be written.
PROGRAM = """
import json, os, sys
from pathlib import Path
from docker_flask.discovery import every_python, permission_hints

permission_hints.VOLUME, refused = sys.argv[2], json.loads(sys.argv[3])
access = os.access
os.access = lambda path, mode: not (
    mode & os.W_OK and any(str(path).startswith(place) for place in refused)
) and access(path, mode)

import flask
from docker_flask.discovery import instance_folder
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import app
folder = Path(app.app.instance_path)
files = {
    str(file.relative_to(folder)): [file.read_text(), file.is_symlink()]
    for file in folder.rglob("*")
    if file.is_file()
}
print(json.dumps([str(folder), files, instance_folder.report()]))
"""
APP = "from flask import Flask\napp = Flask(__name__{})\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def locate(folder: Path, text: str = APP.format(""), refused: str = "app") -> tuple[str, Any, Any]:
    write(folder, {"app/app.py": text})
    (folder / "data").mkdir(exist_ok=True)
    path, files, lines = run_python(
        PROGRAM, str(folder / "app"), str(folder / "data"), json.dumps([str(folder / refused)])
    )
    return str(path).replace(str(folder), "TOP"), files, lines


@pytest.mark.parametrize(
    ("text", "refused", "path"),
    [
        (APP.format(""), "app", "TOP/data/instance"),
        # Flask's own choice: it can be written, or nothing can.
        (APP.format(""), "other", "TOP/app/instance"),
        (APP.format(""), "", "TOP/app/instance"),
        # The application's choice.
        (APP.format(", instance_path='/srv/x'"), "app", "/srv/x"),
        (
            "from flask import Flask\nclass Shop(Flask):\n    def auto_find_instance_path(self):\n"
            "        return '/srv/shop'\napp = Shop(__name__)\n",
            "app",
            "/srv/shop",
        ),
    ],
)
def test_which_folder(tmp_path: Path, text: str, refused: str, path: str) -> None:
    found, files, lines = locate(tmp_path, text, refused)
    assert (found, files, lines) == (path, {}, [])


def test_what_the_image_has_there(tmp_path: Path) -> None:
    """Configuration follows the image; data is copied once, and then belongs to the application."""
    image = tmp_path / "app/instance"
    write(image, {"config.py": "OLD", "shop.sqlite": "seed", "uploads/a.txt": "a"})
    (image / "uploads").chmod(0o755)
    path, files, (line,) = locate(tmp_path)
    assert path == "TOP/data/instance"
    assert files == {
        "config.py": ["OLD", True],
        "shop.sqlite": ["seed", False],
        "uploads/a.txt": ["a", False],
    }
    assert f"Flask's instance folder is {tmp_path}/data/instance, because " in line
    assert line.endswith(f"can't write {image}")
    write(tmp_path / "data/instance", {"shop.sqlite": "written"})
    os.unlink(tmp_path / "data/instance/uploads/a.txt")
    write(image, {"config.py": "NEW", "more.json": "{}", "shop.sqlite": "another", "b.db": ""})
    assert locate(tmp_path)[1] == {
        "config.py": ["NEW", True],
        "more.json": ["{}", True],
        "shop.sqlite": ["written", False],
    }
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["instance"]
