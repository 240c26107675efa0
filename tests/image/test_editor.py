"""DEBUGPY: an editor attaches its debugger in debug mode, and never in production."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_flask.configuration.packages import DEBUGPY_PIN
from tests.support.dap import Editor
from tests.support.harness import DEBUG, DEBUG_PORT, Engine, image_with

PORT = 5678
BAD_SETTING = 78
APP = """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def page():
    word = {word!r}
    return word
"""
LINE = APP[: APP.index("    return")].count("\n") + 1


def write(folder: Path, word: str) -> None:
    (folder / "app.py").write_text(APP.format(word=word))


@pytest.mark.timeout(300)
@pytest.mark.nightly
@pytest.mark.parametrize("continues", [True, False], ids=["after", "during"])
def test_a_breakpoint_and_an_edit(engine: Engine, app_folder: Path, continues: bool) -> None:
    """An edit after the breakpoint, or while it holds, ends the session; the editor comes back."""
    write(app_folder, "first")
    container = engine.serve(
        DEBUG,
        image=image_with(DEBUGPY_PIN),
        app=app_folder,
        env={"DEBUGPY": str(PORT)},
        ports={f"{port}/tcp": ("127.0.0.1", None) for port in (DEBUG_PORT, PORT)},
    )
    with ThreadPoolExecutor() as browser:
        for word, edited in (("first", "second"), ("second", "third")):
            editor = Editor(container.port(PORT))
            editor.attach("/app/app.py", LINE)
            answer = browser.submit(container.get, "/", DEBUG_PORT)
            stopped = editor.wait_for("stopped")
            assert stopped["reason"] == "breakpoint"
            assert editor.variables(stopped)["word"] == f"'{word}'"
            if continues:
                editor.ask("continue", threadId=stopped["threadId"])
                assert answer.result().text == word
            write(app_folder, edited)
            editor.wait_for_end()
            assert container.wait_until_serving(inside=DEBUG_PORT).text == edited


def test_without_the_package(engine: Engine) -> None:
    code, _, err = engine.run(DEBUG, env={"DEBUGPY": str(PORT)}).finish()
    assert code == BAD_SETTING
    wanted = "DEBUGPY=5678 needs the package debugpy, which is not installed: add the line"
    assert f"docker-flask: {wanted} {DEBUGPY_PIN} to requirements.txt" in err.splitlines()[-1]


def test_never_in_production(engine: Engine) -> None:
    container = engine.serve(env={"DEBUGPY": str(PORT)})
    assert "DEBUGPY='5678' is ignored in production: use -d debug" in container.logs()
    assert PORT not in container.listening()
