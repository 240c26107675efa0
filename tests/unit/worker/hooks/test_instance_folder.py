"""Flask's instance folder where the application's folder can't be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.harness import run_python

# Prints the instance path of an application. sys.argv: the application's folder, the folder in the
# volume, and what can't be written.
PROGRAM = """
import json, os, sys
from docker_flask.worker.hooks import every_python

every_python.INSTANCE = sys.argv[2]
access = os.access
os.access = lambda path, mode: not path.startswith(sys.argv[3]) and access(path, mode)

os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import app
print(json.dumps(app.app.instance_path))
"""
APP = "from flask import Flask\napp = Flask(__name__{})\n"
SUBCLASS = """from flask import Flask
class Shop(Flask):
    def auto_find_instance_path(self):
        return '/srv/shop'
app = Shop(__name__)
"""


@pytest.mark.parametrize(
    ("text", "refused", "made", "path"),
    [
        (APP.format(""), "app", "", "TOP/data/instance"),
        (APP.format(""), "app", "data/instance", "TOP/data/instance"),
        # Flask's own choice: it can be written, nothing can, or the image has it.
        (APP.format(""), "other", "", "TOP/app/instance"),
        (APP.format(""), "", "", "TOP/app/instance"),
        (APP.format(""), "app", "app/instance", "TOP/app/instance"),
        # The application's choice.
        (APP.format(", instance_path='/srv/x'"), "app", "", "/srv/x"),
        (SUBCLASS, "app", "", "/srv/shop"),
    ],
)
def test_which_folder(tmp_path: Path, text: str, refused: str, made: str, path: str) -> None:
    for folder in ("app", "data", *filter(None, [made])):
        (tmp_path / folder).mkdir()
    (tmp_path / "app/app.py").write_text(text)
    places = [str(tmp_path / place) for place in ("app", "data/instance", refused)]
    found = run_python(PROGRAM, *places)
    assert str(found).replace(str(tmp_path), "TOP") == path


@pytest.mark.parametrize("planted", ["link", "writable", "foreign", "replaced"])
def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path, planted: str) -> None:
    for folder in ("app", "data", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "app/app.py").write_text(APP.format(""))
    instance = tmp_path / "data/instance"
    if planted == "link":
        instance.symlink_to("../elsewhere")
    else:
        instance.mkdir()
        if planted == "replaced":
            instance.parent.chmod(0o777)
        elif planted == "writable":
            instance.chmod(0o775)
        else:
            os.chown(instance, 12345, 12345)
    found = run_python(PROGRAM, str(tmp_path / "app"), str(instance), str(tmp_path / "app"))
    assert found == str(tmp_path / "app/instance")


def test_configuration_comes_from_the_image(tmp_path: Path) -> None:
    for folder in ("app", "data/instance"):
        (tmp_path / folder).mkdir(parents=True)
    text = APP.format(", instance_relative_config=True")
    (tmp_path / "app/app.py").write_text(text + "app.config.from_pyfile('config.py', True)\n")
    (tmp_path / "data/instance/config.py").write_text("raise SystemExit('ran')\n")
    places = [str(tmp_path / place) for place in ("app", "data/instance", "app")]
    assert run_python(PROGRAM, *places) == str(tmp_path / "data/instance")
