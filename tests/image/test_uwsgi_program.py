"""The command `uwsgi`, by which uWSGI runs in the interpreter of python3, is as its own program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.harness import Container, Engine, wait_for

# Reads the environment before it imports what Python has not loaded anyway.
APP = """\
import os
word = f"{os.environ.get('WORD')} {os.environ.get('LANG')}"

def application(environ, start_response):
    start_response("200 OK", [])
    return [word.encode()]
"""


def titles(container: Container) -> dict[str, list[str]]:
    """The programs of the container's processes, by what `ps` shows."""
    code = """if True:
        import glob, os
        for folder in glob.glob("/proc/[0-9]*"):
            title = open(folder + "/cmdline").read().replace("\\0", " ").strip()
            try:
                print(title, os.readlink(folder + "/exe"), sep="\\t")
            except PermissionError:  # process 1 began as root
                pass
    """
    _, output = container.execute("python3", "-c", code, user="www-data")
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        title, _, program = line.partition("\t")
        found.setdefault(title, []).append(program)
    return found


def test_processes_have_names_and_the_interpreter_of_python3(engine: Engine) -> None:
    # Python sets LC_CTYPE where no language is set: the environment is larger than it was.
    container = engine.serve(env={"LANG": "", "WEB_CONCURRENCY": "2"})
    _, python = container.execute(
        "python3", "-c", "import os; print(os.path.realpath('/usr/bin/python3'))"
    )
    found = titles(container)
    for title in ("uWSGI master", "uWSGI worker 1", "uWSGI worker 2"):
        assert found[title] == [python.strip()]


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
