"""Debug mode: Flask's own server, reloaded at every edit, with its debugger."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from harness import DEBUG, DEBUG_PORT, Container, Engine, wait_for

SERVED, STOP = 2.0, 2.0  # seconds, as promised
APP = """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return {text!r}

@app.get("/fail")
def fail():
    return 1 / 0

if __name__ == "__main__":
    app.run(debug=True)
"""


def write(folder: Path, text: str = "hello") -> None:
    (folder / "app.py").write_text(APP.format(text=text))


def get(container: Container, path: str = "/") -> httpx.Response:
    return container.get(path, DEBUG_PORT)


def wait_until_served(container: Container, text: str, seconds: float = 10) -> float:
    """How long it took until the page holds a text, whatever its status."""
    begun = time.monotonic()

    def look() -> bool:
        try:
            return text in get(container).text
        except httpx.TransportError:
            return False

    try:
        wait_for(look, seconds, f"{text!r} on the page", every=0.02)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{container.logs()}") from None
    return time.monotonic() - begun


@pytest.fixture
def start(engine: Engine, app_folder: Path) -> Callable[..., Container]:
    """Start a container that serves `app_folder`, and wait until it does."""

    def run(**options: object) -> Container:
        if not list(app_folder.iterdir()):
            write(app_folder)
        container = engine.run(DEBUG, app=app_folder, **options)
        container.wait_until_serving(inside=DEBUG_PORT)
        return container

    return run


# --- serving ---------------------------------------------------------------------------------


def test_serves_and_says_loudly_what_it_is(start: Callable[..., Container]) -> None:
    container = start()
    assert get(container).text == "hello"
    assert get(container).headers["Server"].startswith("Werkzeug")
    log = container.logs()
    line = next(line for line in log.splitlines() if "not for production" in line)
    assert f"port {DEBUG_PORT}" in line
    assert re.search(r"Debugger PIN: \d{3}-\d{3}-\d{3}", log)


@pytest.mark.parametrize(
    "call",
    [
        "",
        "app.run()",
        "app.run(debug=True)",
        "app.run(host='127.0.0.1')",
        "app.run(host='0.0.0.0', port=8000, use_reloader=True)",
    ],
)
@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n    "], ids=["bare", "guarded"])
def test_all_interfaces_and_port_5000_whatever_app_run_says(
    start: Callable[..., Container], app_folder: Path, call: str, guard: str
) -> None:
    text = f"{guard}{call}\n" if call else ""
    (app_folder / "app.py").write_text(
        "from flask import Flask\n\napp = Flask(__name__)\n\n"
        f"@app.get('/')\ndef hello():\n    return 'hello'\n\n{text}"
    )
    assert get(start()).text == "hello"


def test_restart_keeps_the_mode(start: Callable[..., Container], app_folder: Path) -> None:
    container = start()
    container.docker.restart()
    assert container.wait_until_serving(inside=DEBUG_PORT).headers["Server"].startswith("Werkzeug")
    container.stop()
    write(app_folder, "after the stop")
    container.docker.start()
    wait_until_served(container, "after the stop")


def test_health(start: Callable[..., Container]) -> None:
    assert start().execute("docker-flask", "health") == (0, "")


def test_reload_says_that_there_is_no_need(start: Callable[..., Container]) -> None:
    code, out = start().execute("docker-flask", "reload")
    assert code == 1
    assert "debug mode reloads by itself" in out


# --- edits -----------------------------------------------------------------------------------


def test_an_edit_is_served(start: Callable[..., Container], app_folder: Path) -> None:
    container = start()
    times = []
    for number in range(5):
        write(app_folder, f"edit {number}.")
        times.append(wait_until_served(container, f"edit {number}."))
    print("edit to served:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= SERVED


def test_an_edit_of_the_same_length_within_a_second(
    start: Callable[..., Container], app_folder: Path
) -> None:
    """Python tells compiled files by whole seconds and size; what it caches must not be served."""
    (app_folder / "words.py").write_text("WORD = 'one'\n")
    text = "from words import WORD\n" + APP.replace("{text!r}", "WORD")
    (app_folder / "app.py").write_text(text)
    container = start()
    for number in range(10):
        word = f"{number:03}"
        (app_folder / "words.py").write_text(f"WORD = '{word}'\n")
        wait_until_served(container, word)


def test_edits_that_tools_make(start: Callable[..., Container], app_folder: Path) -> None:
    """A file put in another's place, a template, a file that is new, one that is gone."""
    (app_folder / "templates").mkdir()
    template = app_folder / "templates" / "page.html"
    template.write_text("first")
    (app_folder / "app.py").write_text(
        "from flask import Flask, render_template\n"
        "try:\n    from words import WORD\nexcept ImportError:\n    WORD = 'none'\n"
        "app = Flask(__name__)\n"
        "@app.get('/')\ndef page():\n    return render_template('page.html') + ' ' + WORD\n"
    )
    container = start()
    assert get(container).text == "first none"
    fresh = app_folder / "app.py.new"
    fresh.write_text((app_folder / "app.py").read_text().replace("'none'", "'no word'"))
    fresh.rename(app_folder / "app.py")
    wait_until_served(container, "first no word", SERVED)
    template.write_text("second")
    wait_until_served(container, "second no word", SERVED)
    (app_folder / "words.py").write_text("WORD = 'a word'\n")
    wait_until_served(container, "second a word", SERVED)
    (app_folder / "words.py").unlink()
    wait_until_served(container, "second no word", SERVED)


def test_a_client_is_not_refused_while_it_reloads(
    start: Callable[..., Container], app_folder: Path
) -> None:
    container = start()
    url = container.url(inside=DEBUG_PORT)
    for number in range(3):
        write(app_folder, f"edit {number}")
        deadline = time.monotonic() + 10
        while (text := httpx.get(url, timeout=10).text) != f"edit {number}":
            assert text.startswith(("edit", "hello"))
            assert time.monotonic() < deadline


# --- what breaks and is mended ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("def f(:\n", "SyntaxError"),
        ("raise RuntimeError('broken here')\n", "broken here"),
        ("import no_such_package\n", "no_such_package"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("x = 1\n", "no WSGI callable"),
    ],
)
def test_broken_and_mended(
    start: Callable[..., Container], app_folder: Path, broken: str, shown: str
) -> None:
    container = start()
    (app_folder / "app.py").write_text(broken)
    wait_until_served(container, shown)
    answer = get(container)
    assert answer.status_code == 500
    assert shown in container.logs()
    write(app_folder, "mended")
    wait_until_served(container, "mended")
    assert get(container).status_code == 200


@pytest.mark.parametrize("broken", ["def f(:\n", None], ids=["syntax error", "no file"])
def test_broken_from_the_start_and_mended(engine: Engine, app_folder: Path, broken: str) -> None:
    if broken:
        (app_folder / "app.py").write_text(broken)
    container = engine.run(DEBUG, app=app_folder)
    container.wait_until_serving(inside=DEBUG_PORT, status=500)
    write(app_folder, "mended")
    wait_until_served(container, "mended")


@pytest.mark.parametrize(
    ("crash", "words"),
    [("os._exit(3)", "exited with code 3"), ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV")],
)
def test_crashed_and_mended(
    start: Callable[..., Container], app_folder: Path, crash: str, words: str
) -> None:
    container = start()
    (app_folder / "app.py").write_text(f"import os\n{crash}\n")
    container.wait_for_log(words)
    write(app_folder, "mended")
    wait_until_served(container, "mended")


def test_the_debugger(start: Callable[..., Container]) -> None:
    container = start()
    answer = get(container, "/fail")
    assert answer.status_code == 500
    for words in ("ZeroDivisionError", "Traceback", "/app/app.py", "EVALEX = true", "__debugger__"):
        assert words in answer.text
    assert "ZeroDivisionError" in container.wait_for_log("ZeroDivisionError")


# --- stop ------------------------------------------------------------------------------------


def test_stop(start: Callable[..., Container]) -> None:
    code, took = start().stop()
    assert code == 0
    assert took <= STOP


def test_stop_during_a_long_import(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text(
        "import time\nprint('importing')\ntime.sleep(60)\n" + APP.format(text="late")
    )
    container = engine.run(DEBUG, app=app_folder)
    log_before = container.wait_for_log("importing")
    code, took = container.stop()
    assert code == 0
    assert took <= STOP
    assert "Traceback" not in container.logs().removeprefix(log_before), "a stop is no error"


def test_an_edit_during_a_long_import(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text("import time\nprint('importing')\ntime.sleep(60)\n")
    container = engine.run(DEBUG, app=app_folder)
    container.wait_for_log("importing")
    write(app_folder, "mended")
    assert wait_until_served(container, "mended") <= SERVED
    assert "Traceback" not in container.logs()


# --- the terminal, and whose files these are -------------------------------------------------


def test_a_terminal(start: Callable[..., Container]) -> None:
    """As `docker run -it`: Ctrl-C ends it."""
    container = start(tty=True, stdin_open=True)
    assert get(container).text == "hello"
    keyboard = container.docker.attach_socket(params={"stdin": 1, "stream": 1})
    try:
        getattr(keyboard, "_sock", keyboard).send(b"\x03")
        begun = time.monotonic()
        assert container.wait_for_exit(5) == 130
        assert time.monotonic() - begun <= STOP
    finally:
        keyboard.close()
    assert "Traceback" not in container.logs()


def test_a_terminal_stops(start: Callable[..., Container]) -> None:
    code, took = start(tty=True, stdin_open=True).stop()
    assert code == 0
    assert took <= STOP


def test_what_it_writes_belongs_to_the_owner_of_the_folder(
    start: Callable[..., Container], app_folder: Path
) -> None:
    owner = 1000 if os.getuid() == 0 else os.getuid()
    (app_folder / "words.py").write_text("WORD = 'one'\n")
    (app_folder / "app.py").write_text(
        "from pathlib import Path\nfrom flask import Flask\nimport words\n"
        "app = Flask(__name__)\n"
        "@app.get('/')\ndef hello():\n    Path('written').write_text('x')\n    return 'hello'\n"
    )
    if owner != os.getuid():
        for path in (app_folder, *app_folder.iterdir()):
            os.chown(path, owner, owner)
    container = start()
    written = [path for path in app_folder.rglob("*") if path.suffix != ".py"]
    assert "written" in {path.name for path in written}
    assert {path.stat().st_uid for path in written} == {owner}
    table = container.docker.top(ps_args="axno pid,uid")
    assert {row[1] for row in table["Processes"]} == {str(owner)}
