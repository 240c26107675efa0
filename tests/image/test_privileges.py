"""Who runs what: nothing is root, or the container ends and its last line says what mends it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    HELLO,
    Container,
    Derive,
    Engine,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

NOT_PERMITTED = 77
SERVICE_USER = 33
DEVELOPER = 23456  # on the host, without an entry in the image's /etc/passwd
# What starts as root, and leaves root before it does anything else.
OWN_PROGRAMS = (
    "/bin/sh /opt/docker-flask/docker_flask/cli/bin/",
    "/bin/bash /opt/docker-flask/entry-point.sh",
    "/usr/bin/env --block-signal",
    "/usr/bin/python3 -I ",
)
# What a container needs, and no more, to leave root and to bind port 80 on any kernel.
NEEDED = ["SETUID", "SETGID", "NET_BIND_SERVICE"]
APP = """
import os
from flask import Flask

app = Flask(__name__)
print("imported by uid", os.getuid())

@app.get("/")
def who():
    with open("/proc/self/status") as file:
        return file.read()
"""
# Writes each kind of process that it sees, every 5 ms from the bound socket on, until /tmp/stop.
SAMPLER = """
import json, os, sys, time
seen = set()
fields = ("Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:")
os.setgid(12345), os.setgroups([]), os.setuid(12345)
while not any(row.split()[1].endswith(sys.argv[1]) for row in open("/proc/net/tcp")):
    time.sleep(0.001)
while not os.path.exists("/tmp/stop"):
    begun = time.monotonic()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = open(f"/proc/{pid}/cmdline").read().replace("\\0", " ").strip()
            status = open(f"/proc/{pid}/status").read().splitlines()
        except OSError:
            continue
        if int(pid) != os.getpid() and command:
            found = [row.split(":")[1].split() for row in status if row.startswith(fields)]
            seen.add(json.dumps([command, *found]))
    time.sleep(max(0, begun + 0.005 - time.monotonic()))
open("/tmp/seen", "w").write("[" + ",".join(seen) + "]")
"""


def write(folder: Path, text: str = APP) -> Path:
    (folder / "app.py").write_text(text)
    return folder


def sampled(command: str, port: str) -> list[str]:
    """A command as process 1, beside which the sampler runs from the first moment on."""
    quoted = SAMPLER.replace('"', '\\"').replace("\\\\", "\\\\\\\\")
    return ["bash", "-c", f'python3 -I -c "{quoted}" {port} & exec {command}']


def seen_by_the_sampler(container: Container) -> list[list[Any]]:
    assert container.execute("touch", "/tmp/stop")[0] == 0
    wait_for(lambda: container.execute("test", "-s", "/tmp/seen")[0] == 0, 5, "the samples")
    found: list[list[Any]] = json.loads(container.execute("cat", "/tmp/seen")[1])
    # The engine's own process, before it is the command; and the commands above.
    others = ("runc", "/proc/self/exe", "docker-init", "touch /tmp", "test -s", "cat /tmp")
    return [row for row in found if not row[0].startswith(others)]


@pytest.mark.parametrize("mode", ["production", *at_night("debug")])
def test_nothing_is_root_at_any_time(engine: Engine, app_folder: Path, mode: str) -> None:
    """Nor has a capability, after the socket is bound: every process, every 5 ms.

    Only the image's own programs start as root, and each is seen as another user later.
    """
    entry, port, number = "/opt/docker-flask/entry-point.sh", "0050", 80
    if mode == "debug":
        entry, port, number = f"{entry} -d debug", "1388", DEBUG_PORT
    container = engine.run(
        [],
        app=write(app_folder),
        entrypoint=sampled(entry, port),
        healthcheck={"interval": 500_000_000, "timeout": 5_000_000_000},
        ports={f"{number}/tcp": ("127.0.0.1", None)},
    )
    container.wait_until_serving(inside=number)
    # Not by `docker exec` of the sampler's own commands: those are root, as the engine starts them.
    assert container.execute("docker-flask", "settings")[0] == 0
    assert container.execute("docker-flask", "health") == (0, "")
    assert container.execute("flask", "routes")[0] == 0
    if mode == "production":
        container.reload()
    container.wait_until_healthy()
    container.get(inside=number)
    rows = seen_by_the_sampler(container)
    as_root = {row[0] for row in rows if "0" in row[1]}
    assert all(command.startswith(OWN_PROGRAMS) for command in as_root), as_root
    left = [row for row in rows if "0" not in row[1]]
    commands = {row[0] for row in left}
    for part in ("docker_flask settings", "health.py", "flask routes", "python3 -I -m"):
        assert any(part in command for command in commands), commands
    for command, uids, gids, groups, *capabilities, no_new_privs in left:
        assert "0" not in {*uids, *gids, *groups}, command
        assert {int(value, 16) for (value,) in capabilities} == {0}, command
        assert no_new_privs == ["1"], command


# --- what can't be had -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "command"),
    [
        (["SETGID"], []),
        (["SETUID"], []),
        (["ALL"], DEBUG),
        (["ALL"], ["settings"]),
        *at_night((["ALL"], ["reload"]), (["ALL"], ["flask", "routes"])),
    ],
    ids=" ".join,
)
def test_root_that_can_not_be_left(engine: Engine, dropped: list[str], command: list[str]) -> None:
    code, out, err = engine.run(command, cap_drop=dropped).finish()
    assert code == NOT_PERMITTED
    assert (out, err.count("\n")) == ("", 1), err
    assert "--cap-add SETUID --cap-add SETGID" in err
    assert f"--user {SERVICE_USER}:{SERVICE_USER}" in err


def test_root_that_is_wanted(engine: Engine, app_folder: Path) -> None:
    """The user is root, who owns the files; the capabilities go in any case."""
    container = engine.run(app=write(app_folder), env={"RUN_AS_ROOT": "1"})
    status = container.wait_until_serving().text
    assert uid(status) == 0
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    assert "runs as root, because RUN_AS_ROOT=1" in container.logs()
    assert container.execute("docker-flask", "health") == (0, "")
    container.reload()
    assert container.stop()[0] == 0


def uid(status: str) -> int:
    found = re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)
    assert found, status
    return int(found[1])


# --- users without a name --------------------------------------------------------------------

NAMES = """
import getpass, os, pathlib
from flask import Flask

app = Flask(__name__)

@app.get("/")
def names():
    home = pathlib.Path.home()
    return f"{os.getuid()} {getpass.getuser()} {os.environ['USER']} {home} {os.access(home, 2)}"

@app.cli.command("names")
def show():
    print(names())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make folders of other users")
@pytest.mark.parametrize(
    ("command", "user", "owner", "names"),
    [
        ([], "12345", 0, "12345 uid12345 uid12345 /data/home True"),
        (DEBUG, None, DEVELOPER, f"{DEVELOPER} uid{DEVELOPER} uid{DEVELOPER} /data/home True"),
        (DEBUG, None, 0, "33 www-data www-data /data/home True"),
    ],
    ids=["production", "debug mode", "debug mode in a folder of root's"],
)
def test_any_user_has_a_name_and_a_home(
    engine: Engine, app_folder: Path, command: list[str], user: str | None, owner: int, names: str
) -> None:
    """The server, and the `flask` command of `docker exec`, which starts as root."""
    os.chown(write(app_folder, NAMES), owner, owner)
    container = engine.serve(command, app=app_folder, user=user)
    assert container.get(inside=DEBUG_PORT if command else 80).text == names
    assert container.execute("flask", "names", user="0") == (0, f"{names}\n")
    said = "/app belongs to root, so the application runs as uid 33"
    assert (said in container.logs()) == (command == DEBUG and owner == 0)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make folders of other users")
def test_the_developer_has_an_entry_in_passwd(engine: Engine, app_folder: Path) -> None:
    """Once, and in the container's own file only."""
    os.chown(write(app_folder), DEVELOPER, DEVELOPER)
    container = engine.serve(DEBUG, app=app_folder)
    container.docker.restart(timeout=5)
    container.wait_until_serving(inside=DEBUG_PORT)
    entry = f"uid{DEVELOPER}:x:{DEVELOPER}:{DEVELOPER}::/data/home:/bin/sh"
    assert container.shell("cat /etc/passwd").count(entry) == 1
    assert container.execute("stat", "-c", "%U %a", "/etc/passwd") == (0, "root 644\n")
    (app_folder / "passwd").write_text(before := container.shell("head -n 18 /etc/passwd"))
    mount = {str(app_folder / "passwd"): {"bind": "/etc/passwd", "mode": "rw"}}
    for options in ({"volumes": mount}, {"read_only": True}):
        log = engine.serve(DEBUG, app=app_folder, **options).logs()
        assert "passwd" not in log
    assert (app_folder / "passwd").read_text() == before


# --- what the application controls -----------------------------------------------------------


@pytest.fixture(scope="module")
def serving(module_engine: Engine, module_folder: Path) -> Container:
    """A container with the fewest capabilities, whose application says who imports it."""
    folder = module_folder
    if os.getuid() == 0:
        os.chown(folder, DEVELOPER, DEVELOPER)
    return module_engine.serve(
        app=write(folder),
        cap_drop=["ALL"],
        cap_add=NEEDED,
        sysctls={"net.ipv4.ip_unprivileged_port_start": "1024"},
    )


@pytest.mark.parametrize(
    "command",
    [
        ["flask", "routes"],
        ["python", "-m", "flask", "routes"],
        ["sh", "-c", "RUN_AS_ROOT= flask routes"],
    ],
    ids=" ".join,
)
def test_the_flask_command_never_imports_the_application_as_root(
    serving: Container, command: list[str]
) -> None:
    code, out = serving.execute(*command)
    assert code == 0, out
    assert f"imported by uid {SERVICE_USER}\n" in out, "as the workers, not as the folder's owner"
    assert "imported by uid 0\n" not in out


# A package of Python that says who builds it.
BUILDER = """
import os, zipfile
def build_wheel(folder, *_):
    name = "built-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("built.py", f"uid = {os.getuid()}")
        about = "built-1.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "builder"
backend-path = ["."]
"""
# As `alembic`, `celery` and `trac-admin`, which pip installs with such a first line.
SCRIPT = """#!/opt/venv/bin/python
import os, sys
if sys.argv[1:]:
    open(sys.argv[1], "w").close()
print(os.getuid(), *(os.stat(path).st_uid for path in sys.argv[1:]))
"""


# As `flask translate compile`, which writes beside the code.
WRITE = """
import os

@app.cli.command("write")
def write():
    print(os.getuid())
    open("made", "w").close()
"""
BUILD = """
FROM THEIRS
COPY --chown=33 app.py /app/
RUN test "$(flask write) $(python -m flask write)" = "0 0" && docker-flask rm made
"""


def write_programs(folder: Path) -> Path:
    write_files(folder, {"init_db": SCRIPT, "p/pyproject.toml": PROJECT, "p/builder.py": BUILDER})
    (write(folder, HELLO) / "init_db").chmod(0o755)
    return folder


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make folders of other users")
@pytest.mark.parametrize(
    ("command", "options", "user"),
    [
        ([], {}, SERVICE_USER),
        *at_night(([], {"init": True}, SERVICE_USER)),
        (["run", "sleep", "60"], {}, SERVICE_USER),
        (DEBUG, {}, DEVELOPER),
        ([], {"environment": {"RUN_AS_ROOT": "1"}}, 0),
        (["sleep", "60"], {}, 0),
    ],
    ids=["production", "init", "run", "debug mode", "root that is wanted", "unchanged"],
)
def test_python_of_docker_exec_leaves_no_file_of_roots(
    engine: Engine, app_folder: Path, command: list[str], options: dict[str, Any], user: int
) -> None:
    os.chown(write_programs(app_folder), DEVELOPER, DEVELOPER)
    env = options.pop("environment", None)
    container = engine.run(command, app=app_folder, env=env, **options)
    if "sleep" in command:
        wait_for(lambda: container.pids("sleep"), 5, "the command")
    else:
        container.wait_until_serving(inside=DEBUG_PORT if command == DEBUG else 80)
    path = "/app/db" if command == DEBUG else "/data/db"
    for line in (
        f"./init_db {path}1",
        f"python init_db {path}2",
        f"cd / && python3 /app/init_db {path}3; :",
    ):
        assert container.shell(line) == f"{user} {user}\n"
    asked = container.execute("./init_db", environment={"RUN_AS_ROOT": "1"})
    assert asked == (0, "0\n"), "root on purpose"


def test_pip_and_a_build_keep_root(engine: Engine, app_folder: Path, derive: Derive) -> None:
    """With the programs that pip starts: they write to the virtual environment."""
    container = engine.serve(app=write_programs(app_folder))
    for line in ("pip install ./p", "pip3 uninstall -y built", "python -m pip install ./p"):
        container.shell(f"cd /app && {line} --root-user-action=ignore")
    show = container.shell("python -c 'import os, built; print(built.uid, os.getuid())'")
    assert show == f"0 {SERVICE_USER}\n"
    derive({"Dockerfile": BUILD, "app.py": HELLO + WRITE})


# Notes who runs it. `encodings` comes before every other module, also before `site`.
PLANT = """
import posix
posix.close(posix.open(f"/data/run-by-{posix.getuid()}", posix.O_CREAT))
"""
PLANTED = ("encodings", "sitecustomize", "docker_flask", "keyring")


def test_root_runs_nothing_that_the_application_has_planted(
    engine: Engine, app_folder: Path
) -> None:
    """Nor stays it root when the application hides its traces."""
    app_folder.chmod(0o777)
    path = {"PYTHONPATH": "/data/lib"}
    container = engine.serve(app=write_programs(app_folder), init=True, env=path)
    hide = "cd /run/docker-flask && mv control.sock hidden && mkdir -p /data/lib && cd /app"
    plant = f"echo '{PLANT}' | tee /app/sitecustomize.py /data/lib/{{{','.join(PLANTED)}}}.py"
    assert container.execute("bash", "-c", f"{hide} && {plant}", user="33")[0] == 0
    commands = ("python -c 0", "/opt/venv/bin/python3 init_db", "./init_db", "flask routes")
    for line in commands:
        container.execute("bash", "-c", line)
    container.shell("python -m pip install --root-user-action=ignore ./p")
    assert container.shell("cd /data && ls -d run*") == "run-by-33\n"
    asked = container.execute("./init_db", environment={"PYTHONPATH": ""})
    assert asked == (0, f"{SERVICE_USER}\n")


def test_the_fewest_capabilities_are_enough(serving: Container) -> None:
    """Health and reload, too: root without DAC_OVERRIDE could not enter the folder."""
    assert serving.execute("docker-flask", "health") == (0, "")
    assert serving.execute("docker-flask", "reload") == (0, "docker-flask: reload: ok\n")
    status = serving.get().text
    assert uid(status) == SERVICE_USER
    for name in ("CapPrm", "CapEff", "CapAmb", "CapInh"):
        assert f"{name}:\t0000000000000000" in status


def test_sockets_are_for_the_service_user_only(serving: Container) -> None:
    program = (
        "import os, stat\n"
        "for folder, folders, names in os.walk('/run'):\n"
        "    for name in names:\n"
        "        mode = os.lstat(os.path.join(folder, name)).st_mode\n"
        "        if stat.S_ISSOCK(mode): print(name, oct(mode & 0o777), "
        "oct(os.stat(folder).st_mode & 0o777))\n"
    )
    _, out = serving.execute("python3", "-c", program, user="33")
    rows = [line.split() for line in out.splitlines()]
    assert {"control.sock", "nginx.sock"} < {name for name, _, _ in rows}
    assert {tuple(modes) for _, *modes in rows} == {("0o660", "0o700")}, out


def test_a_server_of_another_user(serving: Container) -> None:
    """`docker exec --user` of a third one: a sentence, and no guess."""
    code, out = serving.execute("docker-flask", "health", user="12345")
    assert (code, "no server runs in this container, or it runs as another user" in out) == (
        1,
        True,
    )
    code, out = serving.execute("docker-flask", "reload", user="12345")
    assert (code, "no production server runs here as uid 12345" in out) == (1, True)


def test_the_terminal_of_roots_shell_stays_roots(engine: Engine) -> None:
    """Code that has left root could type there: TIOCSTI in ioctl_tty(2)."""
    script = """
        tty
        docker-flask health && docker-flask settings >/dev/null && flask routes >/dev/null
        docker-flask run tty
        docker-flask run sh -c 'stat -c %U $(tty); exit 7' | tr a-z A-Z
        echo ${PIPESTATUS[0]}
        echo in | docker-flask run cat
        stat -c %U $(tty)
    """
    container = engine.serve()
    _, output = container.docker.exec_run(["bash", "-c", script], tty=True)
    own, others, *rest = output.decode().split("\r\n")
    assert own != others, "a command that leaves root has a terminal of its own"
    assert rest == ["WWW-DATA", "7", "in", "root", ""]


# Takes the place of process 1's socket for commands, as the application could.
FORGED_SOCKET = """
import json, os, socket
path = "/run/docker-flask/control.sock"
os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
while True:
    client, _ = listener.accept()
    is_table = client.recv(100) == b"settings\\n"
    title = "\\x1b]0;forged\\x07"
    client.sendall((json.dumps([[title, "", ""]]) if is_table else title).encode())
    client.close()
"""


def test_a_forged_socket_sends_roots_terminal_no_orders(engine: Engine) -> None:
    container = engine.serve()
    container.docker.exec_run(["python3", "-c", FORGED_SOCKET], user="33", detach=True)
    wait_for(lambda: "forged" in container.execute("docker-flask", "health")[1], 10, "the socket")
    for command in ("health", "reload", "settings"):
        assert "?]0;forged?" in container.execute("docker-flask", command)[1]


def test_a_container_with_init_and_a_terminal_stops_as_any_other(engine: Engine) -> None:
    """Its terminal is that of no shell, so that nothing stands between process 1 and the server."""
    container = engine.serve(init=True, tty=True)
    assert not [line for _, line in container.processes() if "script" in line]
    container.docker.stop(timeout=10)
    assert container.docker.wait()["StatusCode"] == 0
