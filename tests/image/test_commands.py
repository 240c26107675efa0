"""Commands in place of the application, and beside it: as they are, and by `run`."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import dotenv
import pytest

from docker_flask.shared.paths import EXECUTE
from tests.support.harness import (
    DEBUG,
    HELLO,
    Container,
    Engine,
    Keyboard,
    assert_within,
    wait_for,
    write_files,
)

OWNER = os.getuid() or 1000  # of a folder that is not root's
BY_TERM = 128 + signal.SIGTERM
QUICK = 1.0  # seconds of a stop
SMALL = 2048  # KB of memory
PRESTART = """
echo preparing
echo once >>"$RECORD/prestart"
export PREPARED="two words" GIVEN="by prestart"
unset REMOVED
cd /
"""
SHOW = """
import json, os
names = "PREPARED", "REMOVED", "GIVEN", "OF_FLASKENV", "EXTRA"
print(json.dumps([os.getuid(), os.getcwd(), *map(os.environ.get, names)]))
"""
WHO = "import os\napp.cli.command('who')(lambda: print(os.getuid()))\n"
FILES = {"app.py": HELLO + WHO, "prestart.sh": PRESTART, "show.py": SHOW}
# Notes its signals, and ends with 7 at the last one.
NOTES_SIGNALS = """
import signal, sys, time

def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)

for name in sys.argv[1:]:
    signal.signal(signal.Signals[name], note)
print("ready", flush=True)
while True:
    time.sleep(1)
"""
nightly = partial(pytest.param, marks=pytest.mark.nightly)
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTERM")


@pytest.fixture(scope="module")
def idle(module_engine: Engine) -> Container:
    """A container that runs a command as it is."""
    container = module_engine.run(["sleep", "infinity"])
    wait_for(lambda: healthy(container), 5, "health")
    return container


@pytest.fixture
def record(tmp_path: Path) -> Path:
    folder = tmp_path / "record"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def healthy(container: Container) -> bool:
    return container.execute("docker-flask", "health") == (0, "")


# --- process 1 ---------------------------------------------------------------------------------


def test_process_1_is_small_and_reaps(idle: Container) -> None:
    status = idle.execute("cat", "/proc/1/status")[1]
    rows = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    print("memory of process 1:", rows["VmRSS"])
    assert rows["Name"] == "tini"
    assert int(rows["VmRSS"].split()[0]) < SMALL
    idle.execute("bash", "-c", "for i in {1..20}; do (sleep 0.0$i & ); done")
    zombies = "cat /proc/[0-9]*/stat 2>/dev/null | grep -cE ' [ZS] 1 ' || true"
    # The command itself is the only child that process 1 keeps.
    wait_for(lambda: idle.execute("bash", "-c", zombies)[1].strip() == "1", 5, "no zombies")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-command"], 127, 'can\'t run "no-such-command": there is no such program'),
        (["debug"], 127, "for debug mode use -d debug"),
        (["celery -A tasks worker"], 127, "give each word as an argument of its own"),
        (["/app"], 126, 'can\'t run "/app": a command is a file with the permission'),
        (["/etc/passwd"], 126, "(chmod +x)"),
        (["/tmp/windows"], 127, "its first line names a program that does not exist"),
        (["sh", "-c", "exit 9"], 9, ""),
        (["docker-flask", "run"], 64, "docker-flask: run needs a command, as in: docker-flask run"),
    ],
)
def test_a_code_and_a_sentence(idle: Container, command: list[str], code: int, words: str) -> None:
    script = "printf '#!/bin/sh\\r\\n' > /tmp/windows; chmod 755 /tmp/windows"
    idle.execute("bash", "-c", script)
    found, output = idle.execute(*EXECUTE, "same", *command)
    assert found == code
    lines = output.splitlines()
    assert len(lines) == (1 if words else 0), lines
    assert words in output


@pytest.mark.parametrize("options", [{}, nightly({"init": True})], ids=["process 1", "--init"])
def test_signals_reach_the_command(engine: Engine, options: dict[str, Any]) -> None:
    container = engine.run(["python3", "-c", NOTES_SIGNALS, *FORWARDED], **options)
    container.wait_for_log("ready")
    for name in FORWARDED:
        container.docker.kill(name)
        container.wait_for_log(f"{name}\n")
    assert container.finish()[:2] == (7, "".join(f"{line}\n" for line in ("ready", *FORWARDED)))


@pytest.mark.timed
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["python3", "-c", "import time; print('up'); time.sleep(60)"], BY_TERM),
        (["sh", "-c", "echo up; sleep 60; true"], BY_TERM),
        nightly(["run", "bash", "-c", "trap 'exit 5' TERM; echo up; sleep 60 & wait"], 5),
    ],
    ids=["python", "shell", "run"],
)
def test_a_stop_takes_no_time(engine: Engine, command: list[str], code: int) -> None:
    container = engine.run(command)
    container.wait_for_log("up\n")
    found, seconds = container.stop()
    print(f"stopped after {seconds:.2f} s")
    assert found == code
    assert seconds < QUICK


def test_a_command_in_a_terminal(engine: Engine) -> None:
    """Ctrl-C comes once."""
    command = ["python3", "-c", NOTES_SIGNALS, "SIGINT"]
    container = engine.run(command, tty=True, stdin_open=True)
    container.wait_for_log("ready")
    with Keyboard(container) as keyboard:
        keyboard.type("\x03")
        container.wait_for_log("SIGINT")
        keyboard.type("\x1c")
        assert container.wait_for_exit() == 128 + signal.SIGQUIT
    assert container.logs().count("SIGINT") == 1


# --- a command as it is ------------------------------------------------------------------------


@pytest.mark.timed
def test_the_command_of_a_tutorial(engine: Engine, app_folder: Path) -> None:
    write_files(app_folder, {"app.py": f"{HELLO}\napp.run(host='0.0.0.0', port=5000)\n"})
    ports = {"5000/tcp": ("127.0.0.1", None)}
    container = engine.run(["python", "app.py"], app=app_folder, ports=ports)
    assert container.wait_until_serving(inside=5000).text == "hello"
    assert healthy(container)
    said = "to let the image serve the application, remove CMD from the Dockerfile"
    assert container.logs().count(said) == 1
    code, seconds = container.stop()
    assert code == BY_TERM
    assert seconds < QUICK


# --- run ---------------------------------------------------------------------------------------


def test_run_is_as_the_application(engine: Engine, app_folder: Path, record: Path) -> None:
    """Its user, folder and variables, in a container of its own and beside it."""
    write_files(app_folder, {**FILES, ".flaskenv": "OF_FLASKENV=yes\n"})
    options: dict[str, Any] = {
        "app": app_folder,
        "env": {"RECORD": "/record", "REMOVED": "x", "GIVEN": "x", "PYTHONPATH": "/extra"},
        "volumes": {
            str(record): {"bind": "/record", "mode": "rw"},
            str(Path(dotenv.__file__).parent): {"bind": "/extra/dotenv", "mode": "ro"},
        },
    }
    row = '[33, "/app", "two words", null, "by prestart", "yes", %s]\n'
    alone = engine.run(["run", "python", "show.py"], **options)
    code, out, err = alone.finish()
    assert (code, out) == (0, row % "null"), err
    assert err == "preparing\n"
    assert (record / "prestart").read_text() == "once\n"

    container = engine.run(**options)
    show = ["docker-flask", "run", "python", "show.py"]
    # At once: waits for prestart.sh.
    assert container.execute(*show, environment={"EXTRA": "1"}) == (0, row % '"1"')
    container.wait_until_serving()
    assert container.execute(*show) == (0, row % "null")
    assert container.execute("docker-flask", "run", "flask", "who") == (0, "33\n")
    # The folder of the script is not the command's.
    assert container.execute("docker-flask", "run", "printenv", "PWD") == (0, "/app\n")
    assert (record / "prestart").read_text() == "once\n" * 2


def test_run_beside_debug_mode(engine: Engine, app_folder: Path, record: Path) -> None:
    """As the owner of the folder, who is the application's user there."""
    os.chown(app_folder, OWNER, OWNER)
    write_files(app_folder, FILES)
    container = engine.serve(
        DEBUG,
        app=app_folder,
        env={"RECORD": "/record"},
        volumes={str(record): {"bind": "/record", "mode": "rw"}},
    )
    found = container.execute("docker-flask", "run", "python", "show.py")
    assert found == (0, f'[{OWNER}, "/app", "two words", null, "by prestart", null, null]\n')
    assert (record / "prestart").read_text() == "once\n"
    assert container.execute("docker-flask", "health") == (0, "")


@pytest.mark.parametrize(("end", "code"), [("sleep 60", BY_TERM), ("exit 3", 3)])
def test_run_without_a_prestart_that_ends_well(
    engine: Engine, app_folder: Path, end: str, code: int
) -> None:
    """A stop meanwhile, and a failure."""
    write_files(app_folder, {"prestart.sh": f"echo begun\n{end}\n"})
    container = engine.run(["run", "echo", "not reached"], app=app_folder)
    container.wait_for_log("begun")
    if code == BY_TERM:
        assert_within(2 * QUICK, container.stop()[1])
    found, _, err = container.finish()
    assert found == code
    assert "not reached" not in container.logs()
    assert code == BY_TERM or "prestart.sh exited with code 3" in err


# A stop signal waits for the entry point, as one that arrives while the container starts.
EARLY_STOP = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_stop_before_the_command_runs(engine: Engine) -> None:
    entry = ["python3", "-c", EARLY_STOP, "/opt/docker-flask/entry-point.sh"]
    assert engine.run(["run", "sleep", "60"], entrypoint=entry).wait_for_exit() == BY_TERM


# --- health ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"user": "12345", "read_only": True, "cap_drop": ["ALL"], "network_mode": "none"},
        nightly({"init": True, "ipc_mode": "none"}),
        nightly({"pid_mode": "host"}),
    ],
    ids=" ".join,
)
def test_health_of_a_command(engine: Engine, options: dict[str, Any]) -> None:
    quick = {"test": ["CMD", "docker-flask", "health"], "interval": 10**9 // 2}
    container = engine.run(["run", "sleep", "60"], healthcheck=quick, ports={}, **options)
    container.wait_until_healthy()
