"""What can't run ends the container at once, with a code and a reason; it is never "Up" and broken.

Times are those between the start and the end of process 1, as the engine noted them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import certificates
from tests.support.harness import (
    APPS,
    DEBUG,
    HELLO,
    Container,
    Derive,
    Engine,
    assert_within,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

NOT_SERVING, NOT_PERMITTED, BAD_SETTING = 70, 77, 78
NOTICED = 1.0  # seconds that a start may take until the trouble shows
IN_TIME = 2.0  # seconds from noticing to the end
AT_ONCE = 0.5  # seconds of a start with a bad setting

pytestmark = pytest.mark.timed


class Case(NamedTuple):
    """Files that can't run; in the log, the last line has the first reason."""

    reasons: list[str]
    code: int | None = NOT_SERVING
    app: str = HELLO
    prestart: str = ""


# Other applications that can't be found or loaded: unit/test_find_app.py, unit/test_load_errors.py.
CASES = {
    "no file": Case(["no WSGI callable in /app: this folder is empty; mount yours"], app=""),
    "another file": Case(["no WSGI callable in /app", "`app.py`"], app="", prestart="true"),
    "an exception": Case(
        ["RuntimeError: broken here", 'File "/app/app.py", line 3, in <module>'],
        app="\n\nraise RuntimeError('broken here')\n",
    ),
    "exits": Case(
        ["SystemExit: no database", "Traceback"], app="import sys\nsys.exit('no database')\n"
    ),
    # Here it is the worker that ends, before it can say anything.
    "the worker ends": Case(["load", "worker"], app="import os\nos._exit(3)\n"),
    "the worker is killed": Case(["load", "signal 9"], app="import os\nos.kill(os.getpid(), 9)\n"),
}
# The same in both modes.
PRESTART = {
    "fails": Case(
        ["prestart.sh exited with code 1", "migrating"],
        1,
        prestart="echo migrating >&2\nfalse\necho not reached\n",
    ),
    "exits": Case(
        ["prestart.sh exited with code 7; the application does not"], 7, prestart="exit 7"
    ),
    "has no syntax": Case(["prestart.sh", "syntax error"], None, prestart="if then\n"),
    "is killed": Case(["prestart.sh was killed by SIGKILL"], prestart="kill -KILL $$\n"),
    "exports": Case(
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


def check(engine: Engine, folder: Path, case: Case, mode: list[str]) -> None:
    files = {"app.py": case.app, "prestart.sh": case.prestart}
    write_files(folder, {name: text for name, text in files.items() if text})
    container = engine.run(mode, app=folder)
    ended(container, case.code, *case.reasons)
    assert "not reached" not in container.logs()


@pytest.mark.parametrize("name", CASES)
def test_ends_with_the_reason(engine: Engine, app_folder: Path, name: str) -> None:
    check(engine, app_folder, CASES[name], [])


@pytest.mark.parametrize(
    ("what", "mode"),
    [
        *((what, []) for what in PRESTART),
        ("fails", DEBUG),
        ("exports", DEBUG),
        *at_night(*((what, DEBUG) for what in ("exits", "has no syntax", "is killed"))),
    ],
    ids=lambda value: value if isinstance(value, str) else "debug" if value else "production",
)
def test_prestart_ends_the_start(
    engine: Engine, app_folder: Path, what: str, mode: list[str]
) -> None:
    check(engine, app_folder, PRESTART[what], mode)


def test_a_hanging_import_ends_at_start_timeout(engine: Engine) -> None:
    seconds = 2
    env = {"START_TIMEOUT": str(seconds), "LOAD_SECONDS": "60"}
    said = f"did not load within START_TIMEOUT={seconds} seconds"
    ended(engine.run(app=APPS / "hello", env=env), NOT_SERVING, said, seconds=seconds)


def test_a_failure_after_clients_were_told_to_wait(engine: Engine, app_folder: Path) -> None:
    app = "import time\ntime.sleep(4)\nraise RuntimeError('after all')\n"
    write_files(app_folder, {"app.py": app})
    ended(engine.run(app=app_folder), NOT_SERVING, "RuntimeError: after all", seconds=4)


# --- files that can't be read, ports that can't be bound -----------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a folder of another user")
def test_an_unreadable_mount(engine: Engine, app_folder: Path) -> None:
    """The advice helps."""
    write_files(app_folder, {"app.py": HELLO}).chmod(0o700)
    for path in (app_folder, app_folder / "app.py"):
        os.chown(path, 12345, 12345)
    last = ended(engine.run(app=app_folder), NOT_SERVING, "can't read /app")
    assert "belongs to uid 12345 with mode 700" in last
    assert "chmod -R o+rX" in last
    subprocess.run(["chmod", "-R", "o+rX", str(app_folder)], check=True)
    assert engine.serve(app=app_folder).get().text == "hello"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make files of another user")
@pytest.mark.parametrize("command", [[], DEBUG], ids=["production", "debug mode"])
def test_an_unreadable_file(engine: Engine, app_folder: Path, command: list[str]) -> None:
    """As umask 077 makes it. What is hidden or leads nowhere is no error."""
    files = {"app.py": HELLO, "mine/shop/page.html": "", ".git/config": ""}
    write_files(app_folder, files).joinpath("nothing").symlink_to("/nowhere")
    for name in ("mine/shop", ".git"):
        (app_folder / name).chmod(0o700)
    container = engine.serve(command, app=app_folder)
    said = "uid 33 can't read /app/mine/shop: it belongs to uid 0 with mode 700; run chmod -R o+rX"
    assert container.logs().count("can't read") == 1
    assert said in container.logs()
    (app_folder / "mine/shop").chmod(0o755)
    (app_folder / "mine/shop/page.html").chmod(0o600)
    if not command:
        container.reload()
        container.wait_for_log("uid 33 can't read /app/mine/shop/page.html")


# A virtual environment of another Python's, with and without what the image has.
COPIED = """
FROM THEIRS AS build
RUN cd /opt/venv && rm -r bin lib && mkdir -p bin lib/python3.9 && ln -s {python} bin/python
FROM THEIRS
{before}
COPY --from=build /opt/venv /opt/venv
"""


@pytest.mark.parametrize(
    ("python", "before"),
    [("/usr/local/bin/python3", ""), ("/usr/bin/python3", "RUN rm -r /opt/venv")],
    ids=["no interpreter", "no packages"],
)
def test_a_copied_virtual_environment(
    engine: Engine, derive: Derive, python: str, before: str
) -> None:
    image = derive({"Dockerfile": COPIED.format(python=python, before=before)})
    code, out, err = engine.run(image=image).finish()
    assert (code, out, err.count("\n")) == (NOT_SERVING, "", 1), err
    assert "/opt/venv has packages for python3" in err
    assert f"python3.9 and the interpreter {python}" in err
    assert "RUN pip install -r requirements.txt" in err


def test_another_virtual_environment_in_path(engine: Engine, derive: Derive) -> None:
    dockerfile = "FROM THEIRS\nRUN python -m venv --without-pip /venv\nENV PATH=/venv/bin:$PATH\n"
    container = engine.serve(image=derive({"Dockerfile": dockerfile}))
    said = "the virtual environment /venv in PATH is not used, the application runs in /opt/venv"
    assert said in container.logs()


def test_a_taken_port(engine: Engine) -> None:
    first = engine.serve(app=APPS / "hello")
    network = f"container:{first.docker.id}"
    tls = {"TLS_CERTIFICATE": "/certs", "TLS_PORT": "80"}
    for env, reason in (
        ({}, "can't listen on LISTEN_PORT=80: Address already in use; use a free port"),
        ({**tls, "LISTEN_PORT": "81"}, "can't listen on TLS_PORT=80: Address already in use"),
        (tls, "TLS_PORT=80 is also LISTEN_PORT; use another port"),
        (tls | {"LISTEN_PORT": "81", "STATUS_PORT": "80"}, "TLS_PORT=80 is also STATUS_PORT; use"),
        ({"LISTEN_PORT": "9180"}, "LISTEN_PORT=9180 is also STATUS_PORT; use another port"),
    ):
        second = engine.run(app=APPS / "hello", network_mode=network, ports=None, env=env)
        ended(second, BAD_SETTING, reason)
    assert first.get().text == "hello"


def test_a_forbidden_port(engine: Engine) -> None:
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    container = engine.run(app=APPS / "hello", user="12345", sysctls=sysctls)
    assert "denied" in ended(container, NOT_PERMITTED, "LISTEN_PORT=80")


# --- HTTPS ---------------------------------------------------------------------------------------

# The settings, and how the only line begins.
HTTPS = {
    "TLS_KEY=/certs/good/tls.key": "{TLS_KEY} needs TLS_CERTIFICATE",
    "TLS_CERTIFICATE=/certs/good/tls.crt": "{TLS_CERTIFICATE} is no folder",
    "TLS_CERTIFICATE=/certs/good TLS_DOMAIN=a.test": "TLS_CERTIFICATE and TLS_DOMAIN are both set",
    "TLS_DOMAIN=*.a.test": "TLS_DOMAIN='*.a.test' is not allowed; use",
    "TLS_CERTIFICATE=/certs/encrypted": "{TLS_CERTIFICATE}/tls.key is encrypted",
    "TLS_CERTIFICATE=/certs/der": "{TLS_CERTIFICATE}/tls.crt has no certificate in PEM; is it",
    "TLS_CERTIFICATE=/certs/none": "{TLS_CERTIFICATE} is a folder without tls.crt",
    "TLS_CERTIFICATE=/certs/root": "{TLS_CERTIFICATE}/tls.key: uid 33 can't read the file",
    "TLS_CERTIFICATE=/certs/good/tls.crt TLS_KEY=/certs/root.key": "{TLS_KEY} is not the key of",
}


@pytest.fixture(scope="module")
def certs(module_folder: Path) -> Path:
    """Folders with certificates, good ones and others."""
    for name in ("good", "encrypted", "root", "none"):
        certificates.write(module_folder / name)
    shutil.copy(module_folder / "root/tls.key", module_folder / "root.key")
    (module_folder / "root/tls.key").chmod(0o600)
    (module_folder / "none/tls.key").unlink()
    der, key = module_folder / "der", module_folder / "encrypted/tls.key"
    (der / "tls.crt").write_bytes(certificates.write(der))
    key.write_text(key.read_text().replace("PRIVATE", "ENCRYPTED PRIVATE"))
    return module_folder


def refused(engine: Engine, certs: Path, case: str, mode: list[str]) -> float:
    """Start with a bad setting of HTTPS, and check how it ends; returns after how many seconds."""
    env = dict(word.split("=") for word in case.split())
    container = engine.run(mode, env=env, volumes=certificates.mounted(certs), ports={})
    code, out, err = container.finish()
    assert (code, out, err.count("\n")) == (BAD_SETTING, "", 1), err
    named = {name: f"{name}={value}" for name, value in env.items()}
    assert err.startswith(f"docker-flask: {HTTPS[case].format_map(named)}")
    return container.lifetime()


@pytest.mark.parametrize("mode", [[], *at_night(DEBUG)], ids=["production", "debug"])
@pytest.mark.parametrize("case", HTTPS)
def test_a_bad_setting_of_https(engine: Engine, certs: Path, case: str, mode: list[str]) -> None:
    assert refused(engine, certs, case, mode) < NOTICED + IN_TIME


@pytest.mark.alone
@pytest.mark.parametrize("case", [list(HTTPS)[-1], *at_night(list(HTTPS)[2])])
def test_it_ends_at_once(engine: Engine, certs: Path, case: str) -> None:
    """Other work on the machine makes a start slower, but not each of five."""
    assert_within(AT_ONCE, min(refused(engine, certs, case, []) for _ in range(5)))


# --- what helps ------------------------------------------------------------------------------


def test_settings_count_as_prestart_leaves_them(engine: Engine, app_folder: Path) -> None:
    """Everywhere, apart from the ports, which are bound before; with line ends of Windows, too."""
    lines = ["#!/usr/bin/env bash", "if true; then", '  export GREETING="good day"', "fi"]
    lines += ["export MAX_UPLOAD=5m LISTEN_PORT=8080", "export STATUS_PORT=many"]
    lines += ["mkdir /tmp/pages", "echo made > /tmp/pages/a.txt", ""]
    write_files(app_folder, {"prestart.sh": "\r\n".join(lines), "app.py": HELLO})
    container = engine.serve(app=app_folder, env={"STATIC_PATH": "/tmp/pages"})
    assert container.get().text == "good day"
    assert container.get("/static/a.txt").text == "made\n"
    found = container.settings()
    assert found["MAX_UPLOAD"] == ["5m", "MAX_UPLOAD"]
    assert found["LISTEN_PORT"] == ["80", "default"]
    assert "client_max_body_size 5m;" in container.shell("cat /run/docker-flask/nginx.conf")


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
