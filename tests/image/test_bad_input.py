"""What can't run ends the container at once, with a code and a reason; it is never "Up" and broken.

Times are those between the start and the end of process 1, as the engine noted them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.harness import APPS, HELLO, Container, Engine, wait_for, write_files
from tests.support.servers import SERVERS

NOT_SERVING, NOT_PERMITTED, BAD_SETTING = 70, 77, 78
NOTICED = 1.0  # seconds that a start may take until the trouble shows
IN_TIME = 2.0  # seconds from noticing to the end

pytestmark = pytest.mark.timed


class Case(NamedTuple):
    """Files and variables that can't run; in the log, the last line has the first reason."""

    reasons: list[str]
    code: int | None = NOT_SERVING
    app: str = HELLO
    prestart: str = ""
    env: dict[str, str] = {}  # noqa: RUF012 - read only


CASES = {
    "no file": Case(["no WSGI callable in /app", "`app.py`"], app=""),
    "no callable": Case(["no WSGI callable in /app: none of `app`", "APP_MODULE="], app="x = 1\n"),
    "an exception": Case(
        ["RuntimeError: broken here", 'File "/app/app.py", line 3, in <module>'],
        app="\n\nraise RuntimeError('broken here')\n",
    ),
    "no module": Case(
        ["ModuleNotFoundError: No module named 'no_such_package'", "Traceback"],
        app="import no_such_package\n",
    ),
    "wrong syntax": Case(
        ["SyntaxError: invalid syntax", 'File "/app/app.py", line 1'], app="def f(:\n"
    ),
    "exits": Case(
        ["SystemExit: no database", "Traceback"], app="import sys\nsys.exit('no database')\n"
    ),
    "a factory fails": Case(
        ["KeyError: 'DATABASE_URL'", "in create_app"],
        app="def create_app():\n    raise KeyError('DATABASE_URL')\n",
    ),
    # Here it is the worker that ends, before it can say anything.
    "the worker ends": Case(["load", "worker"], app="import os\nos._exit(3)\n"),
    "the worker is killed": Case(["load", "signal 9"], app="import os\nos.kill(os.getpid(), 9)\n"),
    "APP_MODULE, no module": Case(
        ["no WSGI callable by APP_MODULE='shop:app': no module named 'shop'"],
        env={"APP_MODULE": "shop:app"},
    ),
    "APP_MODULE, no name": Case(["no 'shop' in app"], env={"APP_MODULE": "app:shop"}),
    "THREADS": Case(["THREADS='0'", "from 1 to 256"], BAD_SETTING, env={"THREADS": "0"}),
    "prestart fails": Case(
        ["prestart.sh exited with code 1", "migrating"],
        1,
        prestart="echo migrating >&2\nfalse\necho not reached\n",
    ),
    "prestart finds no command": Case(
        ["prestart.sh exited with code 127", "no-such-command: command not found"],
        127,
        prestart="no-such-command\n",
    ),
    "prestart's syntax": Case(["prestart.sh", "syntax error"], None, prestart="if then\n"),
    "prestart is killed": Case(["prestart.sh was killed by SIGKILL"], prestart="kill -KILL $$\n"),
    "prestart exports": Case(
        ["THREADS='many'", "from 1 to 256"], BAD_SETTING, prestart="export THREADS=many\n"
    ),
}


def ended(container: Container, code: int | None, *reasons: str, seconds: float = 0) -> str:
    """Check how a container ended, `seconds` after its start; returns the last line of its log."""
    found = container.wait_for_exit(seconds + 15)
    log = container.logs()
    last = log.splitlines()[-1]
    assert found != 0
    assert code in (found, None), log
    assert reasons[0] in last, log
    assert [words for words in reasons[1:] if words not in log] == []
    assert seconds <= container.lifetime() <= seconds + NOTICED + IN_TIME, log
    return last


@pytest.mark.parametrize("name", CASES)
def test_ends_with_the_reason(engine: Engine, app_folder: Path, name: str) -> None:
    case = CASES[name]
    files = {"app.py": case.app, "prestart.sh": case.prestart}
    write_files(app_folder, {name: text for name, text in files.items() if text})
    ended(engine.run(app=app_folder, env=case.env), case.code, *case.reasons)


def test_a_hanging_import_ends_at_start_timeout(engine: Engine) -> None:
    seconds = 2
    env = {"START_TIMEOUT": str(seconds), "LOAD_SECONDS": "60"}
    said = f"did not load within START_TIMEOUT={seconds} seconds"
    ended(engine.run(app=APPS / "hello", env=env), NOT_SERVING, said, seconds=seconds)


def test_a_failure_after_clients_were_told_to_wait(engine: Engine, app_folder: Path) -> None:
    app = "import time\ntime.sleep(4)\nraise RuntimeError('after all')\n"
    write_files(app_folder, {"app.py": app})
    last = ended(engine.run(app=app_folder), NOT_SERVING, "RuntimeError: after all", seconds=4)
    assert last == "RuntimeError: after all"


# --- hostile settings; see also tests/unit -----------------------------------------------------


def end_of(engine: Engine, folder: Path, **options: Any) -> list[str]:
    """The lines on stderr of a container that refuses its settings; the folder has a pipe."""
    os.mkfifo(folder / "pipe")
    volumes = {str(folder): {"bind": "/pipes", "mode": "ro"}}
    code, out, err = engine.run(volumes=volumes, mem_limit="256m", **options).finish()
    assert (code, out) == (BAD_SETTING, "")
    return err.splitlines()


def test_a_hostile_setting_is_refused(engine: Engine, tmp_path: Path) -> None:
    (line,) = end_of(engine, tmp_path, env={"TZ": "/pipes/pipe"})
    assert line.startswith("docker-flask: TZ=")
    assert line.isprintable()
    assert len(line) < 1_500


@pytest.mark.nightly
@pytest.mark.parametrize("file", ["/dev/zero", "/pipes/pipe"])
def test_a_configuration_of_gunicorn_that_has_no_end(
    engine: Engine, tmp_path: Path, file: str
) -> None:
    env = {"GUNICORN_CMD_ARGS": f"-c {file}"}
    lines = end_of(engine, tmp_path, server=SERVERS["gunicorn-sync"], env=env)
    assert f"'{file}' is not a file" in lines[-1]


# --- files that can't be read, ports that can't be bound -----------------------------------------


@pytest.fixture
def closed(app_folder: Path) -> Path:
    """A folder that only its owner can read, who is not the service user."""
    write_files(app_folder, {"app.py": HELLO}).chmod(0o700)
    return app_folder


def advice(engine: Engine, folder: Path) -> str:
    """The last line of a container that can't read its folder."""
    last = ended(engine.run(app=folder), NOT_SERVING, "can't read /app")
    assert f"belongs to uid {folder.stat().st_uid} with mode 700" in last
    assert "chmod -R o+rX" in last
    return last


def test_an_unreadable_mount(engine: Engine, closed: Path) -> None:
    """Both pieces of advice help."""
    if os.getuid() == 0:
        for path in (closed, closed / "app.py"):
            os.chown(path, 12345, 12345)
    user = str(closed.stat().st_uid)
    assert f"--user {user}" in advice(engine, closed)
    assert engine.serve(app=closed, user=user).get().text == "hello"
    subprocess.run(["chmod", "-R", "o+rX", str(closed)], check=True)
    assert engine.serve(app=closed).get().text == "hello"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a folder of root's")
def test_an_unreadable_mount_of_root(engine: Engine, closed: Path) -> None:
    """`--user 0` is no advice: root is left for the service user."""
    assert "--user" not in advice(engine, closed)


def test_an_unreadable_file(engine: Engine, closed: Path) -> None:
    closed.chmod(0o755)
    (closed / "app.py").chmod(0o600)
    assert "/app/app.py" in ended(engine.run(app=closed), NOT_SERVING, "PermissionError")


def test_a_taken_port(engine: Engine) -> None:
    first = engine.serve(app=APPS / "hello")
    network = f"container:{first.docker.id}"
    second = engine.run(app=APPS / "hello", network_mode=network, ports=None)
    assert "in use" in ended(second, BAD_SETTING, "LISTEN_PORT=80")
    assert first.get().text == "hello"


def test_a_forbidden_port(engine: Engine) -> None:
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    container = engine.run(app=APPS / "hello", user="12345", sysctls=sysctls)
    assert "denied" in ended(container, NOT_PERMITTED, "LISTEN_PORT=80")


# --- what helps ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_what_prestart_exports_reaches_the_application(
    engine: Engine, app_folder: Path, end: str
) -> None:
    lines = [
        "#!/usr/bin/env bash",
        "if true; then",
        '  export GREETING="good day"',
        "fi",
        "export REQUEST_TIMEOUT=7",
    ]
    write_files(app_folder, {"prestart.sh": end.join(lines) + end, "app.py": HELLO})
    container = engine.serve(app=app_folder)
    assert container.get().text == "good day"
    assert "uwsgi_read_timeout 7s;" in container.shell("cat /run/docker-flask/nginx.conf")


def test_settings_count_as_prestart_leaves_them(engine: Engine, app_folder: Path) -> None:
    """Everywhere, apart from the ports, which are bound before."""
    lines = ["export MAX_UPLOAD=5m LISTEN_PORT=8080", "export STATUS_PORT=many"]
    lines += ["mkdir /tmp/pages", "echo made > /tmp/pages/a.txt"]
    write_files(app_folder, {"prestart.sh": "\n".join(lines), "app.py": HELLO})
    container = engine.serve(app=app_folder, env={"STATIC_PATH": "/tmp/pages"})
    assert container.get("/static/a.txt").text == "made\n"
    rows = dict(
        line.split(maxsplit=1)
        for line in container.execute("docker-flask", "settings")[1].splitlines()
    )
    assert rows["MAX_UPLOAD"].split() == ["5m", "MAX_UPLOAD"]
    assert rows["LISTEN_PORT"].split() == ["80", "default"]
    assert "client_max_body_size 5m;" in container.shell("cat /run/docker-flask/nginx.conf")
    log = container.logs()
    assert "LISTEN_PORT='8080' in prestart.sh is ignored" in log
    assert "STATUS_PORT='many' in prestart.sh is ignored" in log


def test_a_restart_policy_gets_its_chance(engine: Engine, app_folder: Path) -> None:
    """A container that failed is started again, and serves once its trouble is over."""
    write_files(app_folder, {"app.py": "1 / 0\n"})
    container = engine.run(app=app_folder, restart_policy={"Name": "always"})

    def restarted() -> bool:
        container.docker.reload()
        return container.docker.attrs["RestartCount"] > 0

    wait_for(restarted, 15, "a restart")
    write_files(app_folder, {"app.py": HELLO})
    wait_for(lambda: container.running() and "docker-flask: serving" in container.logs(), 20, "it")
    assert container.wait_until_serving().text == "hello"
