"""Debug mode: Flask's own server, reloaded at every edit, with its debugger."""

from __future__ import annotations

import contextlib
import html
import os
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import DEBUG, DEBUG_PORT, NO_TLS, Container, Engine, wait_for
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
def one_for_all(
    module_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Container, Path]:
    folder = tmp_path_factory.mktemp("shared")
    folder.chmod(0o755)
    write(folder)
    container = module_engine.run(DEBUG, app=folder)
    container.wait_until_serving(inside=DEBUG_PORT)
    return container, folder


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


def test_health(shared: Shared) -> None:
    assert shared.container.execute("docker-flask", "health") == (0, "")


def test_reload_says_that_there_is_no_need(shared: Shared) -> None:
    code, out = shared.container.execute("docker-flask", "reload")
    assert code == 1
    assert "debug mode reloads by itself" in out


def test_headers_of_64_kb(shared: Shared) -> None:
    """As many as production takes."""
    headers = {f"X-Large-{number}": "x" * 16_000 for number in range(4)}
    assert get(shared.container, headers=headers).status_code == 200


def test_settings_of_production_do_no_harm(start: Callable[..., Container]) -> None:
    production = {
        "LISTEN_PORT": "81",
        "WEB_CONCURRENCY": "9",
        "THREADS": "4",
        "REQUEST_TIMEOUT": "1",
        "MAX_UPLOAD": "1k",
        "ACCESS_LOG": "0",
        "FLASK_DEBUG": "0",
        "FLASK_RUN_PORT": "81",
    }
    container = start(env=production)
    assert get(container).text == "hello"
    assert get(container, "/fail").status_code == 500


# --- edits -----------------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.smoke
def test_an_edit_is_served(start: Callable[..., Container], app_folder: Path) -> None:
    container = start()
    times = []
    for number in range(5):
        write(app_folder, f"edit {number}.")
        times.append(wait_until_served(container, f"edit {number}."))
    print("edit to served:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= SERVED


@pytest.mark.nightly
def test_an_edit_of_the_same_length_within_a_second(
    start: Callable[..., Container], app_folder: Path
) -> None:
    """Python tells compiled files by whole seconds and size; what it caches must not be served."""
    (app_folder / "words.py").write_text("WORD = 'one'\n")
    text = "from words import WORD\n" + APP.replace("{text!r}", "WORD")
    (app_folder / "app.py").write_text(text)
    container = start()
    for number in range(5):
        word = f"{number:03}"
        (app_folder / "words.py").write_text(f"WORD = '{word}'\n")
        wait_until_served(container, word)


@pytest.mark.nightly
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
    wait_until_served(container, "first no word")
    template.write_text("second")
    wait_until_served(container, "second no word")
    (app_folder / "words.py").write_text("WORD = 'a word'\n")
    wait_until_served(container, "second a word")
    (app_folder / "words.py").unlink()
    wait_until_served(container, "second no word")


def test_edits_that_leave_the_time_alone(start: Callable[..., Container], app_folder: Path) -> None:
    """A file that an older one takes the place of, and one as old as that before it."""
    container = start()
    source = app_folder / "app.py"
    for text, time_of_edit in (("older", 1_000_000_000), ("of the same age", 1_000_000_000)):
        edited = app_folder / "edited"
        edited.write_text(APP.format(text=text))
        os.utime(edited, (time_of_edit, time_of_edit))
        edited.rename(source)
        wait_until_served(container, text)


@pytest.mark.nightly
def test_packages_and_renamed_files(start: Callable[..., Container], app_folder: Path) -> None:
    (app_folder / "app.py").write_text(
        "try:\n    from shop.words import WORD\nexcept ImportError as error:\n"
        "    WORD = str(error)\n" + APP.replace("{text!r}", "WORD")
    )
    container = start()
    assert get(container).text == "No module named 'shop'"
    (app_folder / "shop").mkdir()
    (app_folder / "shop" / "__init__.py").touch()
    wait_until_served(container, "No module named 'shop.words'")
    (app_folder / "shop" / "draft.py").write_text("WORD = 'a new package'\n")
    (app_folder / "shop" / "draft.py").rename(app_folder / "shop" / "words.py")
    wait_until_served(container, "a new package")
    (app_folder / "shop").rename(app_folder / "store")
    wait_until_served(container, "No module named 'shop'")


def test_templates(start: Callable[..., Container], app_folder: Path) -> None:
    """New and edited ones, those that others include or extend, and those of a blueprint."""
    own, blueprint = app_folder / "templates", app_folder / "shop" / "pages"
    for folder in (own, blueprint):
        folder.mkdir(parents=True)
    (blueprint.parent / "__init__.py").write_text(
        "from flask import Blueprint\nblueprint = Blueprint('shop', __name__, "
        "template_folder='pages')\n"
    )
    (app_folder / "app.py").write_text(
        "from flask import Flask, render_template\nfrom shop import blueprint\n"
        "app = Flask(__name__)\napp.register_blueprint(blueprint)\n"
        "@app.get('/')\ndef page():\n    return render_template('page.html')\n"
    )
    (own / "base.html").write_text("base. {% block content %}{% endblock %}")
    (own / "part.html").write_text("part.")
    (blueprint / "page.html").write_text(
        "{% extends 'base.html' %}{% block content %}{% include 'part.html' %} "
        "{% include ['new.html', 'part.html'] %} page.{% endblock %}"
    )
    container = start()
    assert get(container).text == "base. part. part. page."
    (own / "base.html").write_text("BASE. {% block content %}{% endblock %}")
    (own / "part.html").write_text("PART.")
    (own / "new.html").write_text("NEW.")
    (blueprint / "page.html").write_text(
        (blueprint / "page.html").read_text().replace("page.", "PAGE.")
    )
    wait_until_served(container, "BASE. PART. NEW. PAGE.")
    assert "reloading" not in container.logs(), "that takes no new start"


@pytest.mark.nightly
def test_source_outside_of_the_folder(
    start: Callable[..., Container], app_folder: Path, tmp_path: Path
) -> None:
    """A library beside it on PYTHONPATH, and a module that a request imports by its path."""
    library = tmp_path / "lib"
    library.mkdir()
    (library / "words.py").write_text("WORD = 'one'\n")
    (library / "late.txt").write_text("WORD = 'early'\n")
    (app_folder / "app.py").write_text(
        "from importlib.machinery import SourceFileLoader\n"
        "try:\n    from words import WORD\nexcept ImportError as error:\n"
        "    WORD = str(error)\n"
        "from flask import Flask\n\napp = Flask(__name__)\n\n"
        "@app.get('/')\ndef page():\n    import late\n    return WORD + ' ' + late.WORD\n"
        "class Late:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        import importlib.util as util\n"
        "        if name == 'late':\n"
        "            loader = SourceFileLoader('late', '/srv/lib/late.txt')\n"
        "            return util.spec_from_file_location(name, loader.path, loader=loader)\n"
        "import sys\nsys.meta_path.append(Late())\n"
    )
    container = start(
        env={"PYTHONPATH": LIBRARY}, volumes={str(library): {"bind": LIBRARY, "mode": "ro"}}
    )
    assert get(container).text == "one early"
    (library / "words.py").write_text("WORD = 'another'\n")
    wait_until_served(container, "another early")
    (library / "late.txt").write_text("WORD = 'lately'\n")
    wait_until_served(container, "another lately")
    (library / "words.py").write_text("def f(:\n")
    wait_until_served(container, "SyntaxError")
    (library / "words.py").unlink()
    wait_until_served(container, "No module named")
    (library / "words").mkdir()
    (library / "words" / "__init__.py").write_text("WORD = 'a package'\n")
    wait_until_served(container, "a package")


def test_a_library_that_is_broken_from_the_start(
    start: Callable[..., Container], app_folder: Path, tmp_path: Path
) -> None:
    library = tmp_path / "lib"
    library.mkdir()
    (library / "words.py").write_text("def f(:\n")
    (app_folder / "app.py").write_text("from words import WORD\n" + APP.replace("{text!r}", "WORD"))
    mount = {str(library): {"bind": LIBRARY, "mode": "ro"}}
    container = start(status=500, env={"PYTHONPATH": LIBRARY}, volumes=mount)
    (library / "words.py").write_text("WORD = 'mended'\n")
    wait_until_served(container, "mended")


def test_no_events_and_no_watchdog(
    start: Callable[..., Container], app_folder: Path, tmp_path: Path
) -> None:
    """Events do not cross the file sharing of Docker Desktop, whoever waits for them."""
    library = tmp_path / "lib" / "watchdog"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise RuntimeError('watchdog was imported')\n")
    container = start(
        env={"PYTHONPATH": LIBRARY}, volumes={str(library.parent): {"bind": LIBRARY, "mode": "ro"}}
    )
    write(app_folder, "edited")
    wait_until_served(container, "edited")
    assert not waiting_for_events(container)
    # A process that waits for events is seen.
    container.docker.exec_run(["tail", "-f", "/app/app.py"], detach=True)
    (command,) = wait_for(lambda: waiting_for_events(container), 5, "tail to wait for events")
    assert "tail" in command


def waiting_for_events(container: Container) -> list[str]:
    """The command lines of the processes that have an inotify descriptor.

    Read from the host: root in a container may not see the descriptors of another user.
    """
    found = []
    for pid, command in container.docker.top(ps_args="-eo pid,args")["Processes"]:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if "inotify" in os.readlink(descriptor):
                    found.append(command)
    return found


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
    container = start(healthcheck={"test": ["NONE"]})

    def processor_seconds() -> float:
        stats = container.docker.stats(stream=False, one_shot=True)
        return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    before, begun = processor_seconds(), time.monotonic()
    time.sleep(10)
    share = (processor_seconds() - before) / (time.monotonic() - begun)
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


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("def f(:\n", "SyntaxError"),
        (None, "no WSGI callable"),
        *at_night(
            ("raise RuntimeError('broken here')\n", "broken here"),
            ("import no_such_package\n", "no_such_package"),
            ("import sys\nsys.exit(3)\n", "SystemExit"),
            ("x = 1\n", "no WSGI callable"),
            ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ),
    ],
)
def test_broken_and_mended(shared: Shared, broken: str | None, shown: str) -> None:
    container = shared.container
    if broken:
        (shared.folder / "app.py").write_text(broken)
    else:
        (shared.folder / "app.py").unlink()
    wait_until_served(container, shown)
    answer = get(container)
    assert answer.status_code == 500
    assert "Traceback" in answer.text
    time.sleep(1)  # looks of the reloader
    get(container)
    assert shared.log().count("Traceback (most recent call last)") == 1
    assert shown in shared.log()
    write(shared.folder, "mended")
    wait_until_served(container, "mended")
    assert get(container).status_code == 200


@pytest.mark.timed
def test_what_is_mended_is_served(start: Callable[..., Container], app_folder: Path) -> None:
    container = start()
    times = []
    for number in range(3):
        (app_folder / "app.py").write_text("def f(:\n")
        wait_until_served(container, "SyntaxError")
        write(app_folder, f"mended {number}")
        times.append(wait_until_served(container, f"mended {number}"))
    print("mended to served:", " ".join(f"{took:.2f}" for took in sorted(times)), "s")
    assert statistics.median(times) <= SERVED


@pytest.mark.parametrize(
    "broken",
    ["def f(:\n", "import no_such_package\n", None],
    ids=["syntax error", "import error", "no file"],
)
def test_broken_from_the_start_and_mended(
    engine: Engine, app_folder: Path, broken: str | None
) -> None:
    if broken:
        (app_folder / "app.py").write_text(broken)
    container = engine.run(DEBUG, app=app_folder)
    container.wait_until_serving(inside=DEBUG_PORT, status=500)
    assert container.logs().count("Traceback (most recent call last)") == 1
    write(app_folder, "mended")
    wait_until_served(container, "mended")


def test_a_file_that_may_not_be_read_and_then_may(
    start: Callable[..., Container], app_folder: Path
) -> None:
    write(app_folder, "open to all")
    (app_folder / "app.py").chmod(0)
    give(app_folder, OWNER)
    container = start(user=f"{OWNER}:{OWNER}", status=500)
    assert "Permission denied" in get(container).text
    (app_folder / "app.py").chmod(0o644)
    wait_until_served(container, "open to all")


def test_a_folder_that_may_not_be_read(start: Callable[..., Container], app_folder: Path) -> None:
    write(app_folder, "open to all")
    app_folder.chmod(0o700)
    container = start(status=500, user="12345")
    assert "uid 12345 can't read /app" in container.logs()
    assert "chmod -R o+rX" in container.logs()
    app_folder.chmod(0o755)
    wait_until_served(container, "open to all")


# --- what ends the process -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crash", "words"),
    [
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        *at_night(("os._exit(3)", "exited with code 3")),
    ],
)
def test_crashed_at_import_and_mended(shared: Shared, crash: str, words: str) -> None:
    container = shared.container
    (shared.folder / "app.py").write_text(f"import os\n{crash}\n")
    wait_until_served(container, words)
    assert get(container).status_code == 500
    time.sleep(1)
    assert shared.log().count(words) == 1, "it is no loop"
    write(shared.folder, "mended")
    wait_until_served(container, "mended")


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


def test_its_pin_is_printed_once_and_stays(
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


@pytest.mark.nightly
def test_its_pin_is_new_at_each_start(start: Callable[..., Container]) -> None:
    container = start()
    container.docker.restart(timeout=5)
    wait_for(lambda: len(pins(container)) == 2, 10, "the PIN of the second start")
    first, second = pins(container)
    assert first != second
    container.wait_until_serving(inside=DEBUG_PORT)
    assert calculate(container, "localhost", first) is None
    assert calculate(container, "localhost", second) == "42"


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


@pytest.mark.timed
def test_stop(start: Callable[..., Container]) -> None:
    code, took = start().stop()
    assert code == 0
    assert took <= STOP


@pytest.mark.timed
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
    wait_until_served(container, "mended")
    assert "Traceback" not in container.logs()


@pytest.fixture
def ask() -> Iterator[Callable[..., Future[httpx.Response]]]:
    """Send a request in the background."""
    with ThreadPoolExecutor() as pool:

        def run(container: Container, path: str) -> Future[httpx.Response]:
            return pool.submit(get, container, path, timeout=30)

        yield run


@pytest.mark.timed
@pytest.mark.parametrize("ending", ["stop", "edit"])
def test_a_hanging_request_delays_nothing(
    start: Callable[..., Container],
    app_folder: Path,
    ask: Callable[..., Future[httpx.Response]],
    ending: str,
) -> None:
    container = start()
    hanging = ask(container, "/hang")
    container.wait_for_log("hanging")
    if ending == "stop":
        code, took = container.stop()
        assert code == 0
        assert took <= STOP
    else:
        write(app_folder, "edited")
        wait_until_served(container, "edited")
        assert "killed" not in container.logs(), "who edits need not be told"
    assert isinstance(hanging.exception(), httpx.TransportError)


# --- the terminal ----------------------------------------------------------------------------


class Terminal:
    """The keyboard of `docker run -it`."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.socket = container.docker.attach_socket(params={"stdin": 1, "stream": 1})

    def type(self, text: str) -> None:
        getattr(self.socket, "_sock", self.socket).send(text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, which must end it, in time and without noise."""
        log_before = self.container.logs()
        self.type("\x03")
        begun = time.monotonic()
        assert self.container.wait_for_exit(5) == 130
        assert time.monotonic() - begun <= STOP
        assert "Traceback" not in self.container.logs().removeprefix(log_before)


@pytest.fixture
def terminal(
    start: Callable[..., Container],
) -> Iterator[Callable[..., Terminal]]:
    """Start a container as `docker run -it` does."""
    with contextlib.ExitStack() as stack:

        def run(**options: Any) -> Terminal:
            made = Terminal(start(tty=True, stdin_open=True, **options))
            stack.callback(made.socket.close)
            return made

        yield run


@pytest.mark.timed
def test_a_terminal(terminal: Callable[..., Terminal]) -> None:
    keyboard = terminal()
    assert get(keyboard.container).text == "hello"
    keyboard.interrupt()


def test_ctrl_c_during_a_long_import(terminal: Callable[..., Terminal], app_folder: Path) -> None:
    keyboard = terminal()
    (app_folder / "app.py").write_text("import time\nprint('importing')\ntime.sleep(60)\n")
    keyboard.container.wait_for_log("importing")
    keyboard.interrupt()


def test_ctrl_c_while_a_request_hangs(
    terminal: Callable[..., Terminal], ask: Callable[..., Future[httpx.Response]]
) -> None:
    keyboard = terminal()
    ask(keyboard.container, "/hang")
    keyboard.container.wait_for_log("hanging")
    keyboard.interrupt()


@pytest.mark.timed
def test_a_terminal_stops(terminal: Callable[..., Terminal]) -> None:
    code, took = terminal().container.stop()
    assert code == 0
    assert took <= STOP


# What pdb writes where it stops. The line of source after it differs before Python 3.13.
PLACE = ")prompt()"


def test_breakpoint(
    terminal: Callable[..., Terminal],
    app_folder: Path,
    ask: Callable[..., Future[httpx.Response]],
) -> None:
    keyboard = terminal()
    container = keyboard.container
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
    keyboard.interrupt()


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
    table = container.docker.top(ps_args="axno pid,uid")
    assert {row[1] for row in table["Processes"]} == {str(OWNER)}
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


def test_a_user_who_is_named(start: Callable[..., Container], writer: Path) -> None:
    container = start(user=f"{OWNER}:{OWNER}")
    assert get(container).text == "written"
    assert written(writer) == {"uploads", "uploads/picture", "shop.db"}


def test_a_user_without_a_name(start: Callable[..., Container], app_folder: Path) -> None:
    container = start(user="12345")
    assert calculate(container, "localhost", pins(container)[0]) == "42"
    write(app_folder, "edited")
    wait_until_served(container, "edited")


def test_a_folder_of_root(start: Callable[..., Container], app_folder: Path) -> None:
    write(app_folder)
    give(app_folder, 0)
    assert get(start()).text == "hello"


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
