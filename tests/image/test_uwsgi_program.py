"""The command `uwsgi`, by which uWSGI runs in the interpreter of python3, is as its own program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.harness import HELLO, Engine, wait_for

# Reads the environment before it imports what Python has not loaded anyway.
APP = """\
import os
word = f"{os.environ.get('WORD')} {os.environ.get('LANG')}"

def application(environ, start_response):
    start_response("200 OK", [])
    return [word.encode()]
"""


def test_processes_run_in_the_interpreter_of_python3(engine: Engine, app_folder: Path) -> None:
    """Also if the user's options give them names, for which uWSGI needs memory."""
    (app_folder / "app.py").write_text(HELLO)
    (app_folder / "uwsgi.ini").write_text("[uwsgi]\nauto-procname = true\nprocesses = 2\n")
    container = engine.run(app=app_folder, env={"LANG": "", "MORE": "x" * 100_000})
    container.wait_until_serving()
    python = container.shell("realpath /usr/bin/python3")
    pids = container.pids("uWSGI master") + container.pids("uWSGI worker")
    assert len(pids) == 3
    for pid in pids:
        code, program = container.execute("readlink", f"/proc/{pid}/exe", user="www-data")
        assert (code, program) == (0, python)


@pytest.mark.nightly
def test_own_options_reach_the_application_and_a_reload_of_its_own(
    engine: Engine, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "hello.py"
    file.write_text(APP)
    container = engine.run(
        [
            *("uwsgi", "--http-socket", ":80", "--master", "--py-autoreload", "1"),
            *("--env", "WORD=seen", "--unenv", "LANG", "--wsgi-file", "/app/hello.py"),
        ],
        app=tmp_path,
    )
    assert container.wait_until_serving().text == "seen None"
    file.write_text(APP.replace("{os.environ.get('WORD')}", "{os.environ.get('WORD')} again"))

    def reloaded() -> bool:
        # It compares whole seconds, with those of its first look.
        os.utime(file, (later := file.stat().st_mtime + 2, later))
        return container.get().text == "seen again None"

    wait_for(reloaded, 15, "the new text", every=1.0)
    log = container.wait_for_log("binary reloading")
    assert "Segmentation" not in log
    container.docker.stop(timeout=10)


@pytest.mark.parametrize("safe", ["", "1"])
def test_modules_come_from_where_the_user_says(engine: Engine, app_folder: Path, safe: str) -> None:
    code = """if True:
        import sys, words
        from flask import Flask
        app = Flask(__name__)

        @app.route("/")
        def home():
            return f"{words.WORD} {'/opt/docker-flask/packages/bin' in sys.path}"
    """
    (app_folder / "more").mkdir()
    (app_folder / "more/words.py").write_text("WORD = 'found'\n")
    (app_folder / "app.py").write_text(code)
    env = {"PYTHONPATH": "/app/more", "PYTHONSAFEPATH": safe}
    answer = engine.run(app=app_folder, env=env).wait_until_serving()
    assert answer.text == "found False"


def test_a_wrong_option_ends_it(engine: Engine) -> None:
    code, _, error = engine.run(["uwsgi", "--strict", "--no-such-option"]).finish()
    assert code == 1
    assert "--no-such-option" in error
