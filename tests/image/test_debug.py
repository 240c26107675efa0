"""Debug mode: Flask's own server, reloaded at every edit, with its debugger."""

from __future__ import annotations

import html
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import raw_http
from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    HELLO,
    Container,
    Derive,
    Engine,
    Keyboard,
    image_with,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

SERVED, STOP = 2.0, 2.0  # seconds, as promised
LIBRARY = "/srv/lib"  # in the container, beside the application
OWNER = os.getuid() or 1000  # of a folder that is not root's
APP = """
import ctypes, os, time
from flask import Flask, request

app = Flask(__name__)

@app.get("/")
def hello():
    return {text!r}

@app.get("/fail")
def fail():
    return 1 / 0

@app.get("/crash")
def crash():
    os._exit(3)

@app.get("/segfault")
def segfault():
    ctypes.string_at(0)

@app.get("/hang")
def hang():
    print("hanging")
    time.sleep(60)

@app.get("/pdb")
def prompt():
    word = "as it was"
    breakpoint()
    return word

if __name__ == "__main__":
    app.run(debug=True)
"""

PAGE = """
from flask import Flask, render_template
app = Flask(__name__)

@app.get("/")
def page():
    return {}

"""


def write(folder: Path, text: str = "hello") -> None:
    (folder / "app.py").write_text(APP.format(text=text))


def get(container: Container, path: str = "/", **options: Any) -> httpx.Response:
    return container.get(path, DEBUG_PORT, **options)


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

    def run(status: int = 200, **options: Any) -> Container:
        if not list(app_folder.iterdir()):
            write(app_folder)
        container = engine.run(DEBUG, **{"app": app_folder, **options})
        container.wait_until_serving(inside=DEBUG_PORT, status=status)
        return container

    return run


@dataclass
class Shared:
    """A container that many tests edit the application of, and its log since this test began."""

    container: Container
    folder: Path
    before: int

    def log(self) -> str:
        return self.container.logs()[self.before :]


@pytest.fixture(scope="module")
def one_for_all(module_engine: Engine, module_folder: Path) -> tuple[Container, Path]:
    """Started with settings of production, which do no harm here, and with a library."""
    write(module_folder)
    library = module_folder.parent / "lib"
    library.mkdir()
    container = module_engine.serve(
        DEBUG,
        app=module_folder,
        env={
            "LISTEN_PORT": "81",
            "WEB_CONCURRENCY": "9",
            "REQUEST_TIMEOUT": "1",
            "PYTHONPATH": LIBRARY,
            "STATIC_URL": "/assets",
            "STATIC_PATH": LIBRARY,
        },
        volumes={str(library): {"bind": LIBRARY, "mode": "ro"}},
    )
    return container, module_folder


@pytest.fixture
def shared(one_for_all: tuple[Container, Path]) -> Shared:
    """The shared container, in which no edit of an earlier test is left."""
    container, folder = one_for_all
    app = folder / "app.py"
    if not app.exists() or app.read_text() != APP.format(text="hello"):
        write(folder)  # otherwise it would reload under the test
    wait_until_served(container, "hello")
    return Shared(container, folder, len(container.logs()))


# --- serving ---------------------------------------------------------------------------------


@pytest.mark.smoke
def test_serves_and_says_loudly_what_it_is(start: Callable[..., Container]) -> None:
    container = start()
    assert get(container).text == "hello"
    assert get(container).headers["Server"].startswith("Werkzeug")
    log = container.logs()
    line = next(line for line in log.splitlines() if "not for production" in line)
    assert f"port {DEBUG_PORT}" in line


def test_all_interfaces_and_port_5000_whatever_app_run_says(shared: Shared) -> None:
    call = "app.run(host='127.0.0.1', port=8000, use_reloader=True)"
    (shared.folder / "app.py").write_text(PAGE.format("'edited'") + call)
    wait_until_served(shared.container, "edited")
    assert get(shared.container).status_code == 200


@pytest.mark.nightly
def test_flask_1(engine: Engine, app_folder: Path) -> None:
    app = app_folder / "app.py"
    app.write_text(PAGE.replace("app.get", "app.route").format("'hello'"))
    old = ["Flask==1.1.4", "Werkzeug==1.0.1", "jinja2<3.1", "markupsafe<2.1", "itsdangerous<2.1"]
    container = engine.serve(DEBUG, app=app_folder, image=image_with(*old))
    wait_until_served(container, "hello")
    assert get(container).headers["Server"].startswith("Werkzeug/1.0.1")
    app.write_text(PAGE.replace("app.get", "app.route").format("1 / 0"))
    wait_until_served(container, "ZeroDivisionError")
    assert container.stop()[0] == 0


def test_no_request_drives_the_terminal_of_the_log(shared: Shared) -> None:
    """Nor ends one that is none in a traceback."""
    port = shared.container.port(DEBUG_PORT)
    for line in (b"GET /\x1b]0;a\x07 HTTP/1.1", b"\x1b[8m / HTTP/1.1", b"GET / HTTP/\x1b", b"none"):
        assert b"400" in raw_http.exchange(port, line + b"\r\nHost: a\r\n\r\n")
    raw_http.exchange(port, b"GET /%c2%9b31m\xc2\x9b HTTP/1.0\r\nHost: a\r\n\r\n")
    wait_for(lambda: "31m" in shared.log(), 5, "the last request")
    assert not [each for each in shared.log() if not each.isprintable() and each != "\n"]
    assert "Traceback" not in shared.log()


def test_commands_of_production(shared: Shared) -> None:
    assert shared.container.execute("docker-flask", "health") == (0, "")
    code, out = shared.container.execute("docker-flask", "reload")
    assert (code, "debug mode reloads by itself" in out) == (1, True), out


# --- edits -----------------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.smoke
@pytest.mark.parametrize("broken", [False, True], ids=["edited", "mended"])
def test_an_edit_is_served(start: Callable[..., Container], app_folder: Path, broken: bool) -> None:
    container = start()
    times = []
    for number in range(3):
        if broken:
            (app_folder / "app.py").write_text("def f(:\n")
            wait_until_served(container, "SyntaxError")
        write(app_folder, text := f"edit {number}.")
        begun = time.monotonic()
        # Meanwhile, no client is refused.
        wait_for(lambda t=text: t in get(container).text, 10, text, every=0.02)
        times.append(time.monotonic() - begun)
    print("edit to served:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= SERVED


# A template of a blueprint, what it extends and what it includes.
TEMPLATES = {
    "shop/pages/page.html": "{{% extends 'base.html' %}}{{% block content %}}{} "
    "{{% include 'part.html' %}}{{% endblock %}}",
    "templates/base.html": "{} {{% block content %}}{{% endblock %}}",
    "templates/part.html": "{}",
}
BLUEPRINT = (
    "from flask import Blueprint\nshop = Blueprint('shop', __name__, template_folder='pages')\n"
)


def test_an_edit_of_templates_needs_no_new_start(shared: Shared) -> None:
    page = PAGE.format("render_template('page.html')") + "app.register_blueprint(shop)\n"
    files = {"shop/__init__.py": BLUEPRINT, "app.py": f"from shop import shop\n{page}"}
    for text in ("one", "two", "three"):
        files |= {name: template.format(text) for name, template in TEMPLATES.items()}
        write_files(shared.folder, files)
        wait_until_served(shared.container, f"{text} {text} {text}")
        files.clear()
    assert shared.log().count("reloading") == 1


def test_edits_of_a_library_beside_the_application(shared: Shared) -> None:
    """Also two of the same length within a second, by which Python tells compiled files."""
    library = shared.folder.parent / "lib"
    (library / "words.py").write_text("def f(:\n")
    words = (
        "try:\n    from words import WORD\nexcept ImportError as error:\n    WORD = str(error)\n"
    )
    (shared.folder / "app.py").write_text(words + PAGE.format("WORD"))
    wait_until_served(shared.container, "SyntaxError")
    for word in ("mended", "edited", "change"):
        (library / "words.py").write_text(f"WORD = {word!r}\n")
        wait_until_served(shared.container, word)
    (library / "words.py").unlink()
    wait_until_served(shared.container, "No module named")


def test_static_files_of_settings(shared: Shared) -> None:
    library = shared.folder.parent / "lib"
    for name in ("style.css", "server.key"):
        (library / name).write_text("of nginx in production")
    found = [get(shared.container, f"/assets/{name}") for name in ("style.css", "server.key")]
    assert [answer.status_code for answer in found] == [200, 404]
    assert found[0].text == "of nginx in production"


# --- what breaks and is mended ---------------------------------------------------------------


TRACEBACK = "Traceback (most recent call last)"


@pytest.mark.parametrize(
    ("broken", "shown"),
    [("def f(:\n", "SyntaxError"), *at_night(("import sys\nsys.exit(3)\n", "SystemExit"))],
)
def test_broken_and_mended(shared: Shared, broken: str, shown: str) -> None:
    container = shared.container
    (shared.folder / "app.py").write_text(broken)
    wait_until_served(container, shown)
    answer = get(container)
    assert answer.status_code == 500
    assert "Traceback" in answer.text
    time.sleep(1)  # looks of the reloader
    get(container)
    assert shared.log().count(TRACEBACK) == 1, "it is no loop"
    assert shown in shared.log()
    write(shared.folder, "mended")
    wait_until_served(container, "mended")
    assert get(container).status_code == 200


def test_an_installed_package_is_served_beside_its_source(engine: Engine, derive: Derive) -> None:
    """The log names the file, unless the source itself is served, as `pip install -e` does."""
    site = "$(python -c 'import site; print(site.getsitepackages()[0])')"
    install = f"FROM THEIRS\nCOPY . /app/backend\nRUN cp -r /app/backend/shop {site}\n"
    image = derive({"Dockerfile": install, "shop/__init__.py": HELLO})
    env = {"FLASK_APP": "shop"}
    said = "/site-packages/shop/__init__.py, where edits in /app change nothing: pip install -e"
    assert said in engine.serve(DEBUG, image=image, env=env).logs()
    env["PYTHONPATH"] = "/app/backend"
    assert "change nothing" not in engine.serve(DEBUG, image=image, env=env).logs()


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("def f(:\n", ["SyntaxError"]),
        (0o000, ["PermissionError", "/app/app.py"]),
        (0o700, ["uid 12345 can't read /app", "chmod -R o+rX"]),
    ],
    ids=["syntax error", "closed file", "closed folder"],
)
def test_broken_from_the_start_and_mended(
    engine: Engine, app_folder: Path, broken: str | int, shown: list[str]
) -> None:
    if isinstance(broken, str):
        (app_folder / "app.py").write_text(broken)
    else:
        write(app_folder, "mended")
        (app_folder if broken else app_folder / "app.py").chmod(broken)
    container = engine.run(DEBUG, app=app_folder, user="12345")
    container.wait_until_serving(inside=DEBUG_PORT, status=500)
    log = container.logs()
    assert [words for words in shown if words not in log] == [], log
    assert log.count("Traceback (most recent call last)") <= 1
    app_folder.chmod(0o755)
    if broken == 0:
        (app_folder / "app.py").chmod(0o644)
    write(app_folder, "mended")
    wait_until_served(container, "mended")


# --- what ends the process -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [("/crash", "exited with code 3"), ("/segfault", "was killed by SIGSEGV")],
)
def test_crashed_in_a_view_and_back(shared: Shared, path: str, words: str) -> None:
    container = shared.container
    for count in (1, 2):
        with pytest.raises(httpx.RemoteProtocolError):
            get(container, path)
        wait_until_served(container, "hello")
        assert shared.log().count(words) == count
    if path == "/segfault":
        assert "in segfault" in shared.log(), "the log shows where it was"


def test_crashed_at_import_and_mended(shared: Shared) -> None:
    (shared.folder / "app.py").write_text("import os\nos._exit(3)\n")
    shared.container.wait_for_log("exited with code 3 at import; the next edit starts it again")
    time.sleep(1)  # looks of the reloader
    assert shared.log().count("with code 3") == 1, "it is no loop"
    write(shared.folder, "mended")
    wait_until_served(shared.container, "mended")


# --- the debugger ----------------------------------------------------------------------------


def pins(container: Container) -> list[str]:
    return re.findall(r"^docker-flask: debugger PIN: (.+?)\r?$", container.logs(), re.MULTILINE)


def calculate(container: Container, host: str, pin: str | None) -> str | None:
    """What the debugger's console makes of 6 * 7; None if it is closed to this host."""
    with httpx.Client(base_url=container.url("", DEBUG_PORT), headers={"Host": host}) as client:
        page = client.get("/fail").text
        if "EVALEX = true" not in page:
            return None
        assert "EVALEX = false" not in page
        found = re.search(r'SECRET = "(\w+)"', page)
        frames = re.findall(r'id="frame-(\d+)"', page)
        assert found
        ask = {"__debugger__": "yes", "s": found[1]}
        if pin:
            answer = client.get("/", params={**ask, "cmd": "pinauth", "pin": pin})
            if answer.status_code != 200 or not answer.json()["auth"]:
                return None
        result = client.get("/", params={**ask, "cmd": "6 * 7", "frm": frames[-1]}).text
        return html.unescape(re.sub("<.*?>", "", result)).split()[-1]


def test_its_pin_is_printed_once_and_stays_until_a_new_start(
    start: Callable[..., Container], app_folder: Path
) -> None:
    container = start()
    (pin,) = pins(container)
    assert calculate(container, "localhost", "000-000-000") is None
    assert calculate(container, "localhost", pin) == "42"
    assert container.logs().count("ZeroDivisionError") == 2, "once for each of these errors"
    write(app_folder, "edited")
    wait_until_served(container, "edited")
    assert calculate(container, "localhost:5000", pin) == "42"
    assert pins(container) == [pin]
    container.docker.restart(timeout=5)
    wait_for(lambda: len(pins(container)) == 2, 10, "the PIN of the second start")
    container.wait_until_serving(inside=DEBUG_PORT)
    assert calculate(container, "localhost", pin) is None
    assert calculate(container, "localhost", pins(container)[1]) == "42"


@pytest.mark.parametrize("pin", ["271-828-182", "off"])
def test_its_pin_may_be_set(start: Callable[..., Container], pin: str) -> None:
    """By a user without a name, too."""
    container = start(env={"WERKZEUG_DEBUG_PIN": pin}, user="12345")
    assert [shown.split(",")[0] for shown in pins(container)] == [pin]
    assert calculate(container, "localhost", pin if pin != "off" else None) == "42"


def test_hosts_that_may_use_it(start: Callable[..., Container]) -> None:
    container = start(env={"DEBUG_HOSTS": "dev.example, .lan"})
    (pin,) = pins(container)
    for host in ("dev.example", "dev.example:8080", "box.lan", "127.0.0.1:5000", "app.localhost"):
        assert calculate(container, host, pin) == "42", host
    for host in ("example", "dev.example.com", "10.0.0.1", "plan"):
        assert calculate(container, host, pin) is None, host


# --- stop, and the terminal ------------------------------------------------------------------

Ask = Callable[[Container, str], Future[httpx.Response]]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Send a request in the background."""
    with ThreadPoolExecutor() as pool:
        yield lambda container, path: pool.submit(get, container, path, timeout=30)


@pytest.mark.timed
@pytest.mark.parametrize("ending", ["stop", "Ctrl-C", "edit"])
@pytest.mark.parametrize("state", ["importing", "hanging"])
def test_it_ends_and_reloads_at_once(
    start: Callable[..., Container], app_folder: Path, ask: Ask, state: str, ending: str
) -> None:
    container = start(tty=ending == "Ctrl-C", stdin_open=True)
    if state == "importing":
        (app_folder / "app.py").write_text("import time\nprint('importing')\ntime.sleep(60)\n")
    else:
        ask(container, "/hang")
    log_before = container.wait_for_log(state)
    if ending == "stop":
        code, took = container.stop()
        assert code == 0
        assert took <= STOP
    elif ending == "Ctrl-C":
        with Keyboard(container) as keyboard:
            interrupt(container, keyboard)
    else:
        write(app_folder, "edited")
        wait_until_served(container, "edited")
        assert "killed" not in container.logs(), "who edits need not be told"
    assert "Traceback" not in container.logs().removeprefix(log_before), "that is no error"


def interrupt(container: Container, keyboard: Keyboard) -> None:
    """Ctrl-C, which must end it in time."""
    keyboard.type("\x03")
    begun = time.monotonic()
    assert container.wait_for_exit(5) == 130
    assert time.monotonic() - begun <= STOP


# What pdb writes where it stops. The line of source after it differs before Python 3.13.
PLACE = ")prompt()"


def test_breakpoint(start: Callable[..., Container], app_folder: Path, ask: Ask) -> None:
    container = start(tty=True, stdin_open=True)
    with Keyboard(container) as keyboard:
        asked = ask(container, "/pdb")
        container.wait_for_log(PLACE)
        assert get(container).text == "hello", "others are served"
        keyboard.type("word = 'changed'\nc\n")
        assert asked.result(5).text == "changed"
        # An edit takes the prompt away.
        ask(container, "/pdb")
        wait_for(lambda: container.logs().count(PLACE) == 2, 5, "the second prompt")
        write(app_folder, "edited")
        wait_until_served(container, "edited")
        ask(container, "/pdb")
        wait_for(lambda: container.logs().count(PLACE) == 3, 5, "the third prompt")
        interrupt(container, keyboard)


def test_breakpoint_without_a_terminal(shared: Shared) -> None:
    """Since Python 3.14, the debugger ends the thread of the request."""
    with suppress(httpx.RemoteProtocolError):
        answer = get(shared.container, "/pdb")
        assert (answer.status_code, "BdbQuit" in answer.text) == (500, True)
    assert get(shared.container).status_code == 200


# --- whose files these are -------------------------------------------------------------------

WRITES = """
@app.cli.command("init")
def init():
    open("made", "w").close()

@app.get("/write")
def upload():
    os.mkdir("uploads")
    with open("uploads/picture", "w") as file:
        return str(file.write("x"))
"""


def test_what_it_writes_belongs_to_the_owner_of_the_folder(
    start: Callable[..., Container], app_folder: Path
) -> None:
    """The folder is closed to all others; nothing in it is root's, whatever root does meanwhile."""
    (app_folder / "app.py").write_text(APP.format(text="hello") + WRITES)
    if os.getuid() == 0:
        for path in (app_folder, app_folder / "app.py"):
            os.chown(path, OWNER, OWNER)
    app_folder.chmod(0o700)
    container = start()
    assert container.users() == {str(OWNER)}
    assert container.execute("flask", "init") == (0, "")
    assert container.execute("python3", "-c", "import app")[0] == 0
    assert get(container, "/write").text == "1"
    container.stop()
    written = {path.relative_to(app_folder).as_posix() for path in app_folder.rglob("*")}
    assert written == {"app.py", "uploads", "uploads/picture", "made"}
    assert {path.stat().st_uid for path in app_folder.rglob("*")} == {OWNER}


def test_everything_read_only(start: Callable[..., Container], app_folder: Path) -> None:
    """The mount and the image; what is uploaded needs a place meanwhile all the same."""
    (app_folder / "app.py").write_text(
        APP.format(text="hello")
        + "\n@app.post('/')\ndef upload():\n    return str(len(request.files['file'].read()))\n"
    )
    mount = {str(app_folder): {"bind": "/app", "mode": "ro"}}
    container = start(app=None, volumes=mount, read_only=True)
    files = {"file": b"x" * 2_000_000}
    answer = httpx.post(container.url(inside=DEBUG_PORT), files=files, timeout=10)
    assert answer.text == "2000000"
    write(app_folder, "edited")
    wait_until_served(container, "edited")
