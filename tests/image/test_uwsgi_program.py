"""The command `uwsgi`, by which uWSGI runs in the interpreter of python3, is as its own program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import HELLO, Engine


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
