"""DEBUGPY: an editor attaches its debugger in debug mode, and never in production."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_flask.plan.packages import DEBUGPY_PIN
from tests.support import raw_http
from tests.support.dap import Editor, message
from tests.support.harness import DEBUG, DEBUG_PORT, Container, Engine, image_with

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


def serve(engine: Engine, folder: Path) -> Container:
    """Debug mode with a port for editors."""
    write(folder, "first")
    return engine.serve(
        DEBUG,
        image=image_with(DEBUGPY_PIN),
        app=folder,
        env={"DEBUGPY": str(PORT)},
        ports={f"{port}/tcp": ("127.0.0.1", None) for port in (DEBUG_PORT, PORT)},
    )


@pytest.mark.timeout(300)
@pytest.mark.nightly
@pytest.mark.parametrize("continues", [True, False], ids=["after", "during"])
def test_a_breakpoint_and_an_edit(engine: Engine, app_folder: Path, continues: bool) -> None:
    """An edit after the breakpoint, or while it holds, ends the session; the editor comes back."""
    container = serve(engine, app_folder)
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


@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_a_page_of_another_site_is_no_editor(engine: Engine, app_folder: Path) -> None:
    """debugpy skips the lines of HTTP, and would take the body of a POST for a message."""
    container = serve(engine, app_folder)
    editor = Editor(container.port(PORT))
    editor.attach("/app/app.py", LINE)
    asked = message(1, "initialize", adapterID="debugpy")
    body = asked.partition(b"\r\n\r\n")[2]
    for request in (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
        b"POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n" + asked,
        b"GET /?\r\n" + asked,
    ):
        assert raw_http.exchange(container.port(PORT), request, end=False) == b""
    assert editor.ask("threads")["threads"], "the editor keeps its session"
    write(app_folder, "second")
    editor.wait_for_end()


def test_without_the_package(engine: Engine) -> None:
    code, _, err = engine.run(DEBUG, env={"DEBUGPY": str(PORT)}).finish()
    assert code == BAD_SETTING
    wanted = "DEBUGPY=5678 needs the package debugpy, which is not installed: add the line"
    assert f"docker-flask: {wanted} {DEBUGPY_PIN} to requirements.txt" in err.splitlines()[-1]


def test_never_in_production(engine: Engine) -> None:
    container = engine.serve(env={"DEBUGPY": str(PORT)})
    assert "DEBUGPY='5678' is ignored in production: use -d debug" in container.logs()
    assert PORT not in container.listening()
