"""Debug mode: Flask's own server, reloaded at every edit, with its debugger."""

from __future__ import annotations

import contextlib
import html
import os
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.measure import Cgroup
from tests.support.harness import DEBUG, DEBUG_PORT, NO_TLS, Container, Engine, Keyboard, wait_for
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


def write(folder: Path, text: str = "hello") -> None:
    (folder / "app.py").write_text(APP.format(text=text))


def give(folder: Path, owner: int) -> None:
    """Let a folder and all in it belong to somebody; nothing changes for who is not root."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner)


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
    write(module_folder)
    return module_engine.serve(DEBUG, app=module_folder), module_folder


@pytest.fixture
def shared(one_for_all: tuple[Container, Path]) -> Shared:
    """The shared container, in which no edit of an earlier test is left."""
    container, folder = one_for_all
    write(folder)
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


@pytest.mark.parametrize(
    "call",
    [
        "app.run(host='0.0.0.0', port=8000, use_reloader=True)",
        *at_night("", "app.run()", "app.run(debug=True)", "app.run(host='127.0.0.1')"),
    ],
)
@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n    "], ids=["bare", "guarded"])
def test_all_interfaces_and_port_5000_whatever_app_run_says(
    shared: Shared, call: str, guard: str
) -> None:
    text = f"{guard}{call}\n" if call else ""
    (shared.folder / "app.py").write_text(
        "from flask import Flask\n\napp = Flask(__name__)\n\n"
        f"@app.get('/')\ndef page():\n    return 'edited'\n\n{text}"
    )
    wait_until_served(shared.container, "edited")
    assert get(shared.container).status_code == 200


def test_restart_keeps_the_mode(start: Callable[..., Container], app_folder: Path) -> None:
    container = start()
    container.docker.restart()
    assert container.wait_until_serving(inside=DEBUG_PORT).headers["Server"].startswith("Werkzeug")
    container.stop()
    write(app_folder, "after the stop")
    container.docker.start()
    wait_until_served(container, "after the stop")


def test_commands_of_production(shared: Shared) -> None:
    assert shared.container.execute("docker-flask", "health") == (0, "")
    code, out = shared.container.execute("docker-flask", "reload")
    assert (code, "debug mode reloads by itself" in out) == (1, True), out


def test_settings_of_production_do_no_harm(start: Callable[..., Container]) -> None:
    ports = {"LISTEN_PORT": "81", "FLASK_RUN_PORT": "81"}
    numbers = {"WEB_CONCURRENCY": "9", "THREADS": "4", "REQUEST_TIMEOUT": "1", "MAX_UPLOAD": "1k"}
    container = start(env={**ports, **numbers, "ACCESS_LOG": "0", "FLASK_DEBUG": "0"})
    assert get(container).text == "hello"
    assert get(container, "/fail").status_code == 500


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
        write(app_folder, f"edit {number}.")
        times.append(wait_until_served(container, f"edit {number}."))
    print("edit to served:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= SERVED


PAGE = "from flask import Flask, render_template\napp = Flask(__name__)\n"
PAGE += "@app.get('/')\ndef page():\n    return {}\n"
# Shows a word of a module, or why there is none.
SHOWS_WORD = {
    "app.py": "try:\n    from words import WORD\nexcept ImportError as error:\n"
    "    WORD = str(error)\n" + PAGE.format("WORD")
}
BASE = "{} {{% block content %}}{{% endblock %}}"
EXTENDS = (
    "{{% extends 'base.html' %}}{{% block content %}}{{% include 'part.html' %}} "
    "{{% include ['new.html', 'part.html'] %}} {}{{% endblock %}}"
)
BLUEPRINT = "from flask import Blueprint\nblueprint = Blueprint('shop', __name__, "
# For each kind of edits: files and their new texts, None for a file that goes, and then the page.
# Files below lib/ are beside the application, on PYTHONPATH.
EDITS: dict[str, list[tuple[Mapping[str, str | None], str]]] = {
    "templates": [
        (
            {
                "app.py": "from shop import blueprint\n"
                + PAGE.format("render_template('page.html')")
                + "app.register_blueprint(blueprint)\n",
                "shop/__init__.py": f"{BLUEPRINT}template_folder='pages')\n",
                "shop/pages/page.html": EXTENDS.format("page."),
                "templates/base.html": BASE.format("base."),
                "templates/part.html": "part.",
            },
            "base. part. part. page.",
        ),
        (
            {
                "shop/pages/page.html": EXTENDS.format("PAGE."),
                "templates/base.html": BASE.format("BASE."),
                "templates/part.html": "PART.",
                "templates/new.html": "NEW.",
            },
            "BASE. PART. NEW. PAGE.",
        ),
    ],
    "a library": [
        ({**SHOWS_WORD, "lib/words.py": "def f(:\n"}, "SyntaxError"),
        ({"lib/words.py": "WORD = 'mended'\n"}, "mended"),
        ({"lib/words.py": "def f(:\n"}, "SyntaxError"),
        ({"lib/words.py": None}, "No module named"),
        ({"lib/words/__init__.py": "WORD = 'a package'\n"}, "a package"),
    ],
    # A file that takes the place of another, which has the same time.
    "equally old": [
        ({"app.py": PAGE.format("'old'")}, "old"),
        ({"app.py": PAGE.format("'of the same age'")}, "of the same age"),
    ],
    # Python tells compiled files by whole seconds and size; what it caches must not be served.
    "the same length within a second": [
        ({**SHOWS_WORD, "words.py": "WORD = '000'\n"}, "000"),
        *(({"words.py": f"WORD = '{n:03}'\n"}, f"{n:03}") for n in range(1, 6)),
    ],
}


def edit(folder: Path, library: Path, files: Mapping[str, str | None], old: bool) -> None:
    """Put new files in the place of others, as editors do, or remove them."""
    for name, text in files.items():
        path = library / name[4:] if name.startswith("lib/") else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            fresh = path.with_name(f"{path.name}.new")
            fresh.write_text(text)
            if old:
                os.utime(fresh, (10**9, 10**9))
            fresh.rename(path)


@pytest.mark.parametrize("kind", [*list(EDITS)[:3], *at_night(*list(EDITS)[3:])])
def test_edits(engine: Engine, app_folder: Path, tmp_path: Path, kind: str) -> None:
    library = tmp_path / "lib"
    # Whose events do not cross the file sharing of Docker Desktop: it must not be in use.
    (library / "watchdog").mkdir(parents=True)
    (library / "watchdog/__init__.py").write_text("raise RuntimeError('watchdog was imported')\n")
    (files, text), *others = EDITS[kind]
    old = kind == "equally old"
    edit(app_folder, library, files, old)
    mounts = {str(library): {"bind": LIBRARY, "mode": "ro"}}
    container = engine.run(DEBUG, app=app_folder, env={"PYTHONPATH": LIBRARY}, volumes=mounts)
    wait_until_served(container, text)
    for files, text in others:
        edit(app_folder, library, files, old)
        wait_until_served(container, text)
    assert ("reloading" in container.logs()) == (kind != "templates"), "which take no new start"


@pytest.mark.nightly
def test_an_idle_reloader_costs_little(start: Callable[..., Container], app_folder: Path) -> None:
    """2,000 source files in nested folders, and 20,000 in those that nobody edits."""
    for number in range(200):
        folder = app_folder / f"shop{number % 10}" / f"part{number % 50}" / f"detail{number}"
        fill(folder, 10)
    for name in ("node_modules", ".venv", ".git"):
        for number in range(70):
            fill(app_folder / name / str(number), 100)
    write(app_folder)
    (app_folder / "loop").symlink_to(".", target_is_directory=True)
    container = start()

    cgroup = Cgroup(container.pid)
    before, begun = cgroup.cpu(), time.monotonic()
    time.sleep(10)
    share = (cgroup.cpu() - before) / (time.monotonic() - begun)
    print(f"idle with 2,000 source files: {100 * share:.2f} % of a core")
    assert share <= 0.05
    (app_folder / "shop9" / "part9" / "detail9" / "new.py").touch()
    container.wait_for_log("detail9/new.py has changed; reloading")


def fill(folder: Path, count: int) -> None:
    """Put small modules, and as many other files, into a new folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"module{number}.py").touch()
        (folder / f"page{number}.html").touch()


def test_a_client_is_not_refused_while_it_reloads(
    start: Callable[..., Container], app_folder: Path
) -> None:
    container = start()
    url = container.url(inside=DEBUG_PORT)
    for number in range(3):
        write(app_folder, f"edit {number}")
        deadline = time.monotonic() + 10
        while (text := httpx.get(url, timeout=10, verify=NO_TLS).text) != f"edit {number}":
            assert text.startswith(("edit", "hello"))
            assert time.monotonic() < deadline


# --- what breaks and is mended ---------------------------------------------------------------


TRACEBACK = "Traceback (most recent call last)"


@pytest.mark.parametrize(
    ("broken", "shown", "once"),
    [
        ("def f(:\n", "SyntaxError", TRACEBACK),
        (None, "no WSGI callable", TRACEBACK),
        ("import os\nos.kill(os.getpid(), 11)\n", "was killed by SIGSEGV", "by SIGSEGV"),
        *at_night(
            ("import os\nos._exit(3)\n", "exited with code 3", "with code 3"),
            ("raise RuntimeError('broken here')\n", "broken here", TRACEBACK),
            ("import no_such_package\n", "no_such_package", TRACEBACK),
            ("import sys\nsys.exit(3)\n", "SystemExit", TRACEBACK),
            ("x = 1\n", "no WSGI callable", TRACEBACK),
            ("raise KeyboardInterrupt\n", "KeyboardInterrupt", TRACEBACK),
        ),
    ],
)
def test_broken_and_mended(shared: Shared, broken: str | None, shown: str, once: str) -> None:
    container = shared.container
    if broken:
        (shared.folder / "app.py").write_text(broken)
    else:
        (shared.folder / "app.py").unlink()
    wait_until_served(container, shown)
    answer = get(container)
    assert answer.status_code == 500
    assert once != TRACEBACK or "Traceback" in answer.text
    time.sleep(1)  # looks of the reloader
    get(container)
    assert shared.log().count(once) == 1, "it is no loop"
    assert shown in shared.log()
    write(shared.folder, "mended")
    wait_until_served(container, "mended")
    assert get(container).status_code == 200


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


@pytest.mark.nightly
def test_crashed_in_the_background_and_edited(
    start: Callable[..., Container], app_folder: Path
) -> None:
    """What ends by itself soon after it has loaded is not started again in a loop."""
    (app_folder / "app.py").write_text(
        APP.format(text="short") + "import threading\nthreading.Timer(0.5, os._exit, [7]).start()\n"
    )
    container = start()
    container.wait_for_log("exited with code 7")
    time.sleep(2)
    assert container.logs().count("docker-flask: serving") == 1
    write(app_folder, "mended")
    wait_until_served(container, "mended")


# --- the debugger ----------------------------------------------------------------------------


def test_the_debugger(shared: Shared) -> None:
    container = shared.container
    answer = get(container, "/fail")
    assert answer.status_code == 500
    for words in ("ZeroDivisionError", "Traceback", "/app/app.py", "__debugger__"):
        assert words in answer.text
    wait_for(lambda: "ZeroDivisionError" in shared.log(), 10, "the error in the log")
    assert shared.log().count("ZeroDivisionError") == 1
    style = get(container, "/?__debugger__=yes&cmd=resource&f=style.css")
    assert style.status_code == 200


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
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", pin)
    assert calculate(container, "localhost", "000-000-000") is None
    assert calculate(container, "localhost", pin) == "42"
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
    container = start(env={"WERKZEUG_DEBUG_PIN": pin})
    assert [shown.split(",")[0] for shown in pins(container)] == [pin]
    assert calculate(container, "localhost", pin if pin != "off" else None) == "42"


def test_hosts_that_may_use_it(start: Callable[..., Container]) -> None:
    container = start(env={"DEBUG_HOSTS": "dev.example, .lan"})
    (pin,) = pins(container)
    for host in ("dev.example", "dev.example:8080", "box.lan", "127.0.0.1:5000", "app.localhost"):
        assert calculate(container, host, pin) == "42", host
    assert "DEBUG_HOSTS" not in container.logs()
    for host in ("example", "dev.example.com", "10.0.0.1", "plan"):
        assert calculate(container, host, pin) is None, host
    assert container.logs().count("DEBUG_HOSTS") == 1
    assert "'example'" in container.logs()
    # Every process, the application too, sees the setting as the user wrote it.
    _, seen = container.execute("bash", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
    hosts = {line for line in seen.splitlines() if line.startswith("DEBUG_HOSTS=")}
    assert hosts == {"DEBUG_HOSTS=dev.example, .lan"}


# --- stop ------------------------------------------------------------------------------------


@pytest.fixture
def ask() -> Iterator[Callable[..., Future[httpx.Response]]]:
    """Send a request in the background."""
    with ThreadPoolExecutor() as pool:

        def run(container: Container, path: str) -> Future[httpx.Response]:
            return pool.submit(get, container, path, timeout=30)

        yield run


HANGING_IMPORT = "import time\nprint('importing')\ntime.sleep(60)\n"


@pytest.mark.timed
@pytest.mark.parametrize("ending", ["stop", "edit"])
@pytest.mark.parametrize("state", ["idle", "importing", "hanging"])
def test_it_ends_and_reloads_at_once(
    start: Callable[..., Container],
    app_folder: Path,
    ask: Callable[..., Future[httpx.Response]],
    state: str,
    ending: str,
) -> None:
    container = start()
    if state == "importing":
        (app_folder / "app.py").write_text(HANGING_IMPORT)
        container.wait_for_log("importing")
    hanging = ask(container, "/hang") if state == "hanging" else None
    log_before = container.wait_for_log("hanging") if hanging else container.logs()
    if ending == "stop":
        code, took = container.stop()
        assert code == 0
        assert took <= STOP
    else:
        write(app_folder, "edited")
        wait_until_served(container, "edited")
        assert "killed" not in container.logs(), "who edits need not be told"
    if hanging:
        assert isinstance(hanging.exception(), httpx.TransportError)
    assert "Traceback" not in container.logs().removeprefix(log_before), "that is no error"


# --- the terminal ----------------------------------------------------------------------------


def interrupt(container: Container, keyboard: Keyboard) -> None:
    """Ctrl-C, which must end it, in time and without noise."""
    log_before = container.logs()
    keyboard.type("\x03")
    begun = time.monotonic()
    assert container.wait_for_exit(5) == 130
    assert time.monotonic() - begun <= STOP
    assert "Traceback" not in container.logs().removeprefix(log_before)


@pytest.fixture
def terminal(start: Callable[..., Container]) -> Iterator[tuple[Container, Keyboard]]:
    """A container as `docker run -it` starts it."""
    container = start(tty=True, stdin_open=True)
    with Keyboard(container) as keyboard:
        yield container, keyboard


@pytest.mark.timed
@pytest.mark.parametrize("state", ["idle", "importing", "hanging"])
def test_ctrl_c_on_a_terminal(
    terminal: tuple[Container, Keyboard],
    app_folder: Path,
    ask: Callable[..., Future[httpx.Response]],
    state: str,
) -> None:
    container, keyboard = terminal
    assert get(container).text == "hello"
    if state == "importing":
        (app_folder / "app.py").write_text(HANGING_IMPORT)
        container.wait_for_log("importing")
    elif state == "hanging":
        ask(container, "/hang")
        container.wait_for_log("hanging")
    interrupt(container, keyboard)


# What pdb writes where it stops. The line of source after it differs before Python 3.13.
PLACE = ")prompt()"


def test_breakpoint(
    terminal: tuple[Container, Keyboard],
    app_folder: Path,
    ask: Callable[..., Future[httpx.Response]],
) -> None:
    container, keyboard = terminal
    asked = ask(container, "/pdb")
    container.wait_for_log(PLACE)
    assert [get(container).text for _ in range(2)] == ["hello", "hello"], "others are served"
    keyboard.type("word = 'changed'\nc\n")
    assert asked.result(5).text == "changed"
    # An edit takes the prompt away, but the terminal is as it was.
    ask(container, "/pdb")
    wait_for(lambda: container.logs().count(PLACE) == 2, 5, "the second prompt")
    write(app_folder, "edited")
    wait_until_served(container, "edited")
    assert " echo " in container.execute("stty", "-a", "-F", "/dev/console")[1]
    # Once more, and Ctrl-C at the prompt.
    ask(container, "/pdb")
    wait_for(lambda: container.logs().count(PLACE) == 3, 5, "the third prompt")
    interrupt(container, keyboard)


@pytest.mark.timed
def test_breakpoint_without_a_terminal(start: Callable[..., Container]) -> None:
    container = start()
    begun = time.monotonic()
    answer = get(container, "/pdb")
    assert time.monotonic() - begun <= SERVED
    assert answer.status_code == 500
    assert "BdbQuit" in answer.text
    assert get(container).text == "hello"


# --- whose files these are -------------------------------------------------------------------

WRITER = """
import sqlite3, words
from pathlib import Path
from flask import Flask
app = Flask(__name__, instance_path="/app/instance")

@app.get("/")
def write():
    Path("uploads").mkdir(exist_ok=True)
    Path("uploads/picture").write_text("x")
    with sqlite3.connect("shop.db") as database:
        database.execute("create table if not exists item (name text)")
        database.execute("insert into item values ('x')")
    return "written"

@app.cli.command("init")
def init():
    Path("made").touch()
"""


@pytest.fixture
def writer(app_folder: Path) -> Path:
    """An application that writes into its own folder, which is closed to all but its owner."""
    (app_folder / "app.py").write_text(WRITER)
    (app_folder / "words.py").touch()
    (app_folder / "package").mkdir()
    (app_folder / "package" / "__init__.py").touch()
    give(app_folder, OWNER)
    app_folder.chmod(0o700)
    return app_folder


def written(folder: Path) -> set[str]:
    """What is in a folder beside the source; all of it must be its owner's."""
    paths = [path for path in folder.rglob("*") if path.suffix != ".py"]
    assert {path.stat().st_uid for path in paths} == {OWNER}
    return {path.relative_to(folder).as_posix() for path in paths} - {"package"}


def test_what_it_writes_belongs_to_the_owner_of_the_folder(
    start: Callable[..., Container], writer: Path
) -> None:
    """A whole session, whatever root does meanwhile: nothing in the folder is root's after it."""
    container = start()
    assert container.users() == {str(OWNER)}
    code, out = container.execute("flask", "routes")
    assert code == 0
    assert "static" in out
    assert container.execute("flask", "init") == (0, "")
    assert container.execute("python3", "-c", "import app, package")[0] == 0
    assert get(container).text == "written"
    container.stop()
    assert written(writer) == {"uploads", "uploads/picture", "shop.db", "made"}
    with contextlib.closing(sqlite3.connect(writer / "shop.db")) as database:
        assert database.execute("select count(*) from item").fetchone()[0] >= 1


def test_a_user_without_a_name(start: Callable[..., Container], app_folder: Path) -> None:
    container = start(user="12345")
    assert calculate(container, "localhost", pins(container)[0]) == "42"
    write(app_folder, "edited")
    wait_until_served(container, "edited")


def test_everything_read_only(start: Callable[..., Container], app_folder: Path) -> None:
    """The mount and the image; what is uploaded needs a place meanwhile all the same."""
    (app_folder / "app.py").write_text(
        APP.format(text="hello")
        + "\n@app.post('/')\ndef upload():\n    from flask import request\n"
        "    return str(len(request.files['file'].read()))\n"
    )
    give(app_folder, OWNER)
    mount = {str(app_folder): {"bind": "/app", "mode": "ro"}}
    container = start(app=None, volumes=mount, read_only=True)
    files = {"file": b"x" * 2_000_000}
    answer = httpx.post(container.url(inside=DEBUG_PORT), files=files, timeout=10)
    assert answer.text == "2000000"
    assert calculate(container, "localhost", pins(container)[0]) == "42"
    write(app_folder, "edited")
    wait_until_served(container, "edited")
