"""What can't run ends the container at once, with a code and a reason; it is never "Up" and broken.

Times are those between the start and the end of process 1, as the engine noted them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.harness import Container, Engine, wait_for

NOT_SERVING, NOT_PERMITTED, BAD_SETTING = 70, 77, 78
NOTICED = 1.0  # seconds that a start may take until the trouble shows
IN_TIME = 2.0  # seconds from noticing to the end

pytestmark = pytest.mark.timed
HELLO = """
import os
from flask import Flask

app = Flask(__name__)
@app.get("/")
def hello():
    return os.environ.get("GREETING", "hello")
"""


class Ended(NamedTuple):
    """What became of a container that was not to run."""

    code: int
    seconds: float
    log: list[str]


def ended(container: Container, seconds: float = 15) -> Ended:
    code = container.wait_for_exit(seconds)
    return Ended(code, container.lifetime(), container.logs().splitlines())


def run(engine: Engine, folder: Path, files: dict[str, str], **options: Any) -> Container:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return engine.run(app=folder, **options)


@pytest.mark.parametrize(
    ("files", "env", "code", "reasons"),
    [
        # reasons: what the last line says, and what stands in the lines before it.
        ({}, {}, NOT_SERVING, ["no WSGI callable in /app", "`app.py`"]),
        (
            {"app.py": "x = 1\n"},
            {},
            NOT_SERVING,
            ["no WSGI callable in /app: app holds none of", "APP_MODULE="],
        ),
        (
            {"app.py": "\n\nraise RuntimeError('broken here')\n"},
            {},
            NOT_SERVING,
            ["RuntimeError: broken here", 'File "/app/app.py", line 3, in <module>'],
        ),
        (
            {"app.py": "import no_such_package\n"},
            {},
            NOT_SERVING,
            ["ModuleNotFoundError: No module named 'no_such_package'", "Traceback"],
        ),
        (
            {"app.py": "def f(:\n"},
            {},
            NOT_SERVING,
            ["SyntaxError: invalid syntax", 'File "/app/app.py", line 1'],
        ),
        (
            {"app.py": "import sys\nsys.exit('no database')\n"},
            {},
            NOT_SERVING,
            ["SystemExit: no database", "Traceback"],
        ),
        (
            {"app.py": "def create_app():\n    raise KeyError('DATABASE_URL')\n"},
            {},
            NOT_SERVING,
            ["KeyError: 'DATABASE_URL'", "in create_app"],
        ),
        # Here it is the worker that ends, before it can say anything.
        ({"app.py": "import os\nos._exit(3)\n"}, {}, NOT_SERVING, ["load", "worker"]),
        (
            {"app.py": "import os\nos.kill(os.getpid(), 9)\n"},
            {},
            NOT_SERVING,
            ["load", "signal 9"],
        ),
        (
            {"app.py": HELLO},
            {"APP_MODULE": "shop:app"},
            NOT_SERVING,
            ["no WSGI callable by APP_MODULE='shop:app': no module named 'shop'"],
        ),
        ({"app.py": HELLO}, {"APP_MODULE": "app:shop"}, NOT_SERVING, ["no 'shop' in app"]),
        (
            {"app.py": HELLO},
            {"FLASK_APP": "shop.py"},
            NOT_SERVING,
            ["no WSGI callable by FLASK_APP='shop.py': no module named 'shop'", "APP_MODULE="],
        ),
        (
            {"app.py": HELLO},
            {"UWSGI_INI": "/app/none.ini"},
            BAD_SETTING,
            ["UWSGI_INI='/app/none.ini' is not allowed; use the path of an existing file"],
        ),
        ({"app.py": HELLO}, {"THREADS": "0"}, BAD_SETTING, ["THREADS='0'", "from 1 to 256"]),
        ({"app.py": HELLO}, {"PORT": "http"}, BAD_SETTING, ["PORT='http'", "1 to 65535"]),
        (
            {"app.py": HELLO},
            {"MAX_UPLOAD": "1m; root /"},
            BAD_SETTING,
            ["MAX_UPLOAD='1m; root /'", "50m"],
        ),
        ({"prestart.sh": "exit 7\n", "app.py": HELLO}, {}, 7, ["prestart.sh exited with code 7"]),
        (
            {"prestart.sh": "echo migrating >&2\nfalse\necho not reached\n", "app.py": HELLO},
            {},
            1,
            ["prestart.sh exited with code 1", "migrating"],
        ),
        (
            {"prestart.sh": "no-such-command\n", "app.py": HELLO},
            {},
            127,
            ["prestart.sh exited with code 127", "no-such-command: command not found"],
        ),
        ({"prestart.sh": "if then\n", "app.py": HELLO}, {}, None, ["prestart.sh", "syntax error"]),
        (
            {"prestart.sh": "kill -KILL $$\n", "app.py": HELLO},
            {},
            NOT_SERVING,
            ["prestart.sh was killed by SIGKILL"],
        ),
        (
            {"prestart.sh": "export THREADS=many\n", "app.py": HELLO},
            {},
            BAD_SETTING,
            ["THREADS='many'", "from 1 to 256"],
        ),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else "",
)
def test_ends_with_the_reason(
    engine: Engine,
    app_folder: Path,
    files: dict[str, str],
    env: dict[str, str],
    code: int | None,
    reasons: list[str],
) -> None:
    found = ended(run(engine, app_folder, files, env=env))
    log = "\n".join(found.log)
    assert found.code != 0
    assert code in (found.code, None), log
    assert reasons[0] in found.log[-1], log
    assert [words for words in reasons[1:] if words not in "\n".join(found.log[-25:])] == [], log
    assert found.seconds <= NOTICED + IN_TIME, log


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_hanging_import_ends_at_start_timeout(
    engine: Engine, app_folder: Path, seconds: int
) -> None:
    env = {"START_TIMEOUT": str(seconds)}
    files = {"app.py": "import time\ntime.sleep(60)\n" + HELLO}
    found = ended(run(engine, app_folder, files, env=env))
    assert found.code == NOT_SERVING
    assert f"did not load within START_TIMEOUT={seconds} seconds" in found.log[-1]
    assert seconds <= found.seconds <= seconds + IN_TIME


def test_a_failure_after_clients_were_told_to_wait(engine: Engine, app_folder: Path) -> None:
    late = "import time\ntime.sleep(4)\nraise RuntimeError('after all')\n"
    found = ended(run(engine, app_folder, {"app.py": late}))
    assert found.code == NOT_SERVING
    assert found.log[-1] == "RuntimeError: after all"
    assert found.seconds <= NOTICED + 4 + IN_TIME


@pytest.fixture
def closed(app_folder: Path) -> Path:
    """A folder that only its owner can read, who is not the service user."""
    (app_folder / "app.py").write_text(HELLO)
    app_folder.chmod(0o700)
    return app_folder


def advice(engine: Engine, folder: Path) -> str:
    """The last line of a container that can't read its folder."""
    found = ended(engine.run(app=folder))
    assert found.code == NOT_SERVING
    assert found.seconds <= NOTICED + IN_TIME
    owner = folder.stat().st_uid
    for words in ("can't read /app", f"belongs to uid {owner} with mode 700", "chmod -R o+rX"):
        assert words in found.log[-1]
    return found.log[-1]


def test_an_unreadable_mount(engine: Engine, closed: Path) -> None:
    """Both pieces of advice help."""
    if os.getuid() == 0:
        for path in (closed, closed / "app.py"):
            os.chown(path, 12345, 12345)
    user = str(closed.stat().st_uid)
    assert f"--user {user}" in advice(engine, closed)
    assert engine.run(app=closed, user=user).wait_until_serving().text == "hello"
    subprocess.run(["chmod", "-R", "o+rX", str(closed)], check=True)
    assert engine.run(app=closed).wait_until_serving().text == "hello"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a folder of root's")
def test_an_unreadable_mount_of_root(engine: Engine, closed: Path) -> None:
    """`--user 0` is no advice: root is left for the service user."""
    assert "--user" not in advice(engine, closed)


def test_an_unreadable_file(engine: Engine, closed: Path) -> None:
    closed.chmod(0o755)
    (closed / "app.py").chmod(0o600)
    found = ended(engine.run(app=closed))
    assert found.code == NOT_SERVING
    assert "PermissionError" in found.log[-1]
    assert "/app/app.py" in found.log[-1]
    assert found.seconds <= NOTICED + IN_TIME


def test_a_taken_port(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text(HELLO)
    first = engine.run(app=app_folder)
    first.wait_until_serving()
    network = f"container:{first.docker.id}"
    found = ended(engine.run(app=app_folder, network_mode=network, ports=None))
    assert found.code == BAD_SETTING
    assert "LISTEN_PORT=80" in found.log[-1]
    assert "in use" in found.log[-1]
    assert found.seconds <= NOTICED + IN_TIME
    assert first.get().text == "hello"


def test_a_forbidden_port(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text(HELLO)
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    found = ended(engine.run(app=app_folder, user="12345", sysctls=sysctls))
    assert found.code == NOT_PERMITTED
    assert "LISTEN_PORT=80" in found.log[-1]
    assert "denied" in found.log[-1]
    assert found.seconds <= NOTICED + IN_TIME


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
    files = {"prestart.sh": end.join(lines) + end, "app.py": HELLO}
    container = run(engine, app_folder, files)
    assert container.wait_until_serving().text == "good day"
    _, configuration = container.execute("sh", "-c", "cat /run/docker-flask/nginx.conf")
    assert "uwsgi_read_timeout 7s;" in configuration


def test_a_restart_policy_gets_its_chance(engine: Engine, app_folder: Path) -> None:
    """A container that failed is started again, and serves once its trouble is over."""
    always = {"Name": "always"}
    container = run(engine, app_folder, {"app.py": "1 / 0\n"}, restart_policy=always)

    def restarted() -> bool:
        container.docker.reload()
        return container.docker.attrs["RestartCount"] > 0

    wait_for(restarted, 15, "a restart")
    (app_folder / "app.py").write_text(HELLO)

    def answers() -> bool:
        return container.running() and "docker-flask: serving" in container.logs()

    wait_for(answers, 20, "the mended application")
    assert container.wait_until_serving().text == "hello"
