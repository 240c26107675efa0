"""The flags that lock a container down, in combinations; what containers share; the files."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import (
    APPS,
    DEBUG,
    DOCKER,
    HELLO,
    IMAGE,
    ROOT,
    Container,
    Engine,
    wait_for,
    write_files,
)
from tests.support.marks import at_night

NOT_PERMITTED = 77
# Without --user, root without capabilities can't be left: tests/image/test_privileges.py.
CAPABILITIES = {"cap_drop": ["ALL"]}
FLAGS: dict[str, dict[str, Any]] = {
    "--read-only": {"read_only": True},
    "--user 12345": {"user": "12345"},
    "no-new-privileges": {"security_opt": ["no-new-privileges"]},
    "--network none": {"network_mode": "none", "ports": None},
    "--ipc none": {"ipc_mode": "none"},
}
OPENSHIFT = {"user": "1000680000:0", **CAPABILITIES, "env": {"HOME": ""}}
FLAGS |= {
    "all": {**CAPABILITIES, **{name: value for f in FLAGS.values() for name, value in f.items()}},
    "OpenShift, noexec": {**OPENSHIFT, "tmpfs": {"/tmp": "noexec", "/run": "noexec"}},
    "/tmp and /run not writable": {**OPENSHIFT, "tmpfs": {"/tmp": "ro", "/run": "mode=755"}},
    "root, /tmp and /run not writable": {"tmpfs": {"/tmp": "ro", "/run": "mode=755"}},
}
QUICK = ("all", "/tmp and /run not writable")
# Tries to change the files that the container runs: as its user, whatever the file system allows.
FIND_WRITABLE = "find /opt /usr /etc -xdev -not -type l -writable -print 2>/dev/null; true"
ASK = (
    "import sys, urllib.request\n"
    "print(urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/', timeout=5).status)\n"
)


def holds(container: Container) -> None:
    """Healthy, serves, reloads, stops with 0; nothing that it runs can be changed."""

    def healthy() -> bool:
        assert container.running(), container.logs()
        return container.execute("docker-flask", "health") == (0, "")

    wait_for(healthy, 15, "the container to be healthy", every=0.2)
    assert container.execute("/usr/bin/python3", "-I", "-c", ASK, "80") == (0, "200\n")
    uid = container.docker.attrs["Config"]["User"] or "33"
    assert container.execute("sh", "-c", FIND_WRITABLE, user=uid) == (0, "")
    code, out = container.execute("docker-flask", "reload")
    assert (code, out) == (0, "docker-flask: reload: ok\n"), container.logs()
    assert container.execute("docker-flask", "health") == (0, "")
    assert container.stop()[0] == 0, container.logs()


@pytest.mark.parametrize("kind", [*QUICK, *at_night(*sorted(FLAGS.keys() - {*QUICK}))])
def test_flags(engine: Engine, kind: str) -> None:
    holds(engine.run(**FLAGS[kind]))


@pytest.mark.parametrize("mode", [[], DEBUG], ids=["production", "debug"])
def test_no_folder_can_be_written_to(engine: Engine, tmp_path: Path, mode: list[str]) -> None:
    closed = {str(tmp_path): {"bind": "/data", "mode": "ro"}}
    hardened: dict[str, Any] = {"read_only": True, "user": "12345", "ipc_mode": "none"}
    code, out, err = engine.run(mode, volumes=closed, **hardened).finish()
    assert (code, out, err.count("\n")) == (NOT_PERMITTED, "", 1), err
    for words in ("no folder for sockets can be written to", "/data/docker-flask-", "--tmpfs /tmp"):
        assert words in err


WHERE = "import tempfile; print(tempfile.mkdtemp())"
TEMPORARY = f"""{HELLO}
import tempfile

@app.get("/where")
def where():
    return tempfile.mkdtemp()
"""


@pytest.mark.parametrize("user", [None, *at_night("12345")])
def test_everything_has_a_temporary_folder(
    engine: Engine, app_folder: Path, user: str | None
) -> None:
    """The server, prestart.sh, and commands, with `--read-only` and no `--tmpfs`."""
    write_files(app_folder, {"app.py": TEMPORARY, "prestart.sh": "mktemp -d >&2\n"})
    container = engine.serve(app=app_folder, read_only=True, user=user)
    assert "/dev/shm/tmp." in container.logs()
    assert container.get("/where").text.startswith("/dev/shm/tmp")
    for command in (["python"], ["docker-flask", "run", "python"], ["docker-flask", "python"]):
        code, out = container.execute(*command, "-c", WHERE)
        assert (code, out[:12]) == (0, "/dev/shm/tmp"), out
    alone = engine.run(["run", "python", "-c", WHERE], read_only=True, user=user)
    assert alone.finish()[:2][1].startswith("/dev/shm/tmp")


# --- what containers share -------------------------------------------------------------------


def family(
    engine: Engine, folder: Path, number: int, kind: str
) -> Iterator[tuple[Container, str, str]]:
    """Containers that share a network and the places for sockets: each, its address and name."""
    places = {}
    for place in ("tmp", "shm"):
        (folder / place).mkdir()
        (folder / place).chmod(0o1777)
        bind = {"tmp": "/tmp", "shm": "/dev/shm"}[place]
        places[str(folder / place)] = {"bind": bind, "mode": "rw"}
    shared: dict[str, Any] = {"volumes": places} if kind == "places" else {"ipc_mode": "shareable"}
    ports = {f"{8000 + i}/tcp": ("127.0.0.1", None) for i in range(number)}
    first: Container | None = None
    for i in range(number):
        env = {"LISTEN_PORT": str(8000 + i), "WEB_CONCURRENCY": "2", "GREETING": f"container {i}"}
        container = engine.run(
            app=APPS / "hello",
            read_only=True,
            user="12345",
            env=env,
            ports=None if first else ports,
            **shared,
        )
        if not first:
            first = container
            whole = f"container:{container.docker.id}"
            shared |= {"network_mode": whole}
            shared |= {"ipc_mode": whole} if kind == "ipc" else {}
        yield container, first.url(inside=8000 + i), f"container {i}"


@pytest.mark.parametrize("kind", ["ipc", *at_night("places")])
def test_containers_that_share_answer_for_themselves(
    engine: Engine, app_folder: Path, kind: str
) -> None:
    containers = list(family(engine, app_folder, 3, kind))

    def answers(url: str, seconds: float = 30) -> str:
        def look() -> str:
            try:
                response = httpx.get(url, timeout=5)
            except httpx.TransportError:
                return ""
            return response.text if response.status_code == 200 else ""

        return wait_for(look, seconds, url)

    for _, url, name in containers:
        assert answers(url) == name
    for container, url, name in containers:
        container.reload()
        assert answers(url) == name
    last, *others = reversed(containers)
    assert last[0].stop()[0] == 0
    for container, url, name in others:
        assert container.execute("docker-flask", "health") == (0, "")
        assert answers(url, 1) == name
    if kind == "places":
        left = [path.name for path in (app_folder / "tmp").iterdir()]
        assert len(left) == len(others), left


# --- the target nonroot ----------------------------------------------------------------------


@pytest.mark.timeout(360)
def test_nonroot(engine: Engine) -> None:
    """An image of the target, which has no layers of its own."""
    tag = f"{IMAGE}:nonroot-{secrets.token_hex(4)}"
    build = [str(ROOT / "tools/build"), tag, "--target", "nonroot", "--quiet"]
    subprocess.run(build, timeout=300, check=True)
    try:
        config, usual = (engine.client.api.inspect_image(name)["Config"] for name in (tag, IMAGE))
        assert config["User"] == "33:33"
        assert config["Healthcheck"] == usual["Healthcheck"]
        container = engine.serve(image=tag, cap_drop=["ALL"])
        assert container.users() == {"33"}
        container.reload()
        assert container.stop()[0] == 0
    finally:
        engine.remove_containers()
        subprocess.run([DOCKER, "rmi", tag], timeout=60, check=False)
