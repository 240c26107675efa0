"""INSTALL_ON_START=1: packages of requirements files in the container, at its first start.

Needs a Debian mirror and a Python package index; one missing is a failure, not a skip.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import DEBUG, DEBUG_PORT, Engine, trusting, write_files
from tests.support.marks import at_night

# Small, and neither in the image nor needed by anything in it.
PYTHON_PACKAGE, OS_PACKAGE, PROGRAM = "six==1.17.0", "hello", "/usr/bin/hello"
UNKNOWN = "no-such-package-5d1f0c"
INSTALL_SECONDS = 120
NOT_INSTALLED = 69

APP = """
import shutil
from importlib.util import find_spec
from flask import Flask

app = Flask(__name__)

@app.get("/")
def packages():
    return f"six {find_spec('six') is not None}, hello {shutil.which('hello')}"
"""
INSTALLED = f"six True, hello {PROGRAM}"
PLAIN = "six False, hello None"


@pytest.fixture
def folder(app_folder: Path) -> Path:
    """An application with both kinds of requirements."""
    (app_folder / "app.py").write_text(APP)
    (app_folder / "requirements.txt").write_text(f"# one\n{PYTHON_PACKAGE}\n")
    (app_folder / "requirements_os.txt").write_text(f"{OS_PACKAGE} # a greeting\r\n\n# nothing\n")
    return app_folder


def options(folder: Path, value: str = "1") -> dict[str, Any]:
    trust = trusting()
    return {**trust, "env": {**trust.get("env", {}), "INSTALL_ON_START": value}, "app": folder}


@pytest.mark.parametrize("value", ["off", *at_night("")])
def test_off(engine: Engine, folder: Path, value: str) -> None:
    assert engine.run(**options(folder, value)).wait_until_serving().text == PLAIN


@pytest.mark.timeout(2 * INSTALL_SECONDS)
def test_first_start_only(engine: Engine, folder: Path) -> None:
    container = engine.run(**options(folder, "True"))
    assert container.wait_until_serving(seconds=INSTALL_SECONDS).text == INSTALLED
    installs = container.logs().count("docker-flask: installing the packages")
    assert installs, container.logs()

    container.docker.restart()
    assert container.wait_until_serving().text == INSTALLED
    assert container.logs().count("docker-flask: installing the packages") == installs
    # As every other start, it is no root that serves.
    assert "0" not in container.users()


@pytest.mark.nightly
@pytest.mark.timeout(2 * INSTALL_SECONDS)
def test_what_is_there_is_installed_in_debug_mode(engine: Engine, folder: Path) -> None:
    (folder / "requirements_os.txt").unlink()
    container = engine.run(DEBUG, **options(folder))
    answer = container.wait_until_serving(inside=DEBUG_PORT, seconds=INSTALL_SECONDS)
    assert answer.text == "six True, hello None"


@pytest.mark.timeout(2 * INSTALL_SECONDS)
@pytest.mark.parametrize("file", ["requirements.txt", *at_night("requirements_os.txt")])
@pytest.mark.nightly
def test_a_failure_is_the_containers_failure(engine: Engine, folder: Path, file: str) -> None:
    other = ({"requirements.txt", "requirements_os.txt"} - {file}).pop()
    (folder / other).unlink()
    (folder / file).write_text(f"{UNKNOWN}\n")
    code, out, err = engine.run(**options(folder)).finish(INSTALL_SECONDS)
    assert code == NOT_INSTALLED, err
    lines = err.splitlines()
    assert "INSTALL_ON_START=1" in lines[-1]
    assert "/app" in lines[-1]
    assert UNKNOWN in "\n".join(lines[-10:-1]), "the reason"
    assert "serving" not in out + err


def test_without_root_it_says_so(engine: Engine, folder: Path) -> None:
    code, _, err = engine.run(user="12345", **options(folder)).finish()
    assert code == NOT_INSTALLED
    assert err.splitlines() == [err.strip()]
    for words in ("INSTALL_ON_START=1", "root", "12345"):
        assert words in err


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("chmod 666 more.txt", "more.txt"),
        *at_night(
            ("chown 33 requirements.txt", "requirements.txt"),
            ("chmod 777 .", ""),
            ("chmod 666 local/setup.py", "local/setup.py"),
        ),
    ],
    ids=str,
)
def test_the_applications_user_orders_nothing_of_root(
    engine: Engine, folder: Path, change: str, found: str
) -> None:
    """An application that an attacker controls would be root after the next start."""
    files = {"more.txt": "", "local/setup.py": "", "requirements.txt": "-r more.txt\n./local\n"}
    write_files(folder, files)
    subprocess.run(change.split(), cwd=folder, check=True)
    code, _, err = engine.run(**options(folder)).finish()
    assert code == NOT_INSTALLED
    assert len(err.splitlines()) == 1
    for words in ("as root", f"can write to /app{'/' * bool(found)}{found};", "chown root"):
        assert words in err


@pytest.mark.nightly
@pytest.mark.timeout(2 * INSTALL_SECONDS)
def test_a_word_of_requirements_os_is_no_option(engine: Engine, folder: Path) -> None:
    """For each change, test_build.py shows that the words come behind `--`."""
    option = "-oDPkg::Pre-Invoke::=touch$IFS/tmp/mine"
    (folder / "requirements_os.txt").write_text(f"\ufeffhello {option}\n")
    container = engine.run(**options(folder))
    code, _, err = container.finish(INSTALL_SECONDS)
    assert code == NOT_INSTALLED
    assert "E: Unable to locate package -oDPkg" in err
    assert not [each for each in container.docker.diff() if "mine" in each["Path"]]


def test_pipes_and_devices_are_no_requirements(engine: Engine, folder: Path) -> None:
    """They may have no end."""
    for file in folder.glob("requirements*"):
        file.unlink()
    os.mkfifo(folder / "requirements.txt")
    os.mkfifo(folder / "web.lock")
    (folder / "requirements_os.txt").symlink_to("/dev/zero")
    container = engine.run(**options(folder))
    assert container.wait_until_serving(seconds=INSTALL_SECONDS).text == PLAIN
