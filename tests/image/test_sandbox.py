"""The image in gVisor, whose kernel is a program that lacks many details of Linux.

runsc is its runtime, a package of Debian. The engine learns it from its configuration, which it
reads again on SIGHUP. The packaged runsc has no network of an engine here, so that requests come
from inside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import DEBUG, Container, Engine, wait_for

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300), pytest.mark.alone]

RUNTIME = "runsc"
CONFIGURATION, PID_FILE = Path("/etc/docker/daemon.json"), Path("/var/run/docker.pid")
# gVisor is slower than Linux, above all where processes start.
PATIENCE = 60.0
GET = """if True:
    import sys, urllib.error, urllib.request
    for _ in range(int(sys.argv[2])):
        try:
            print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
        except (OSError, urllib.error.URLError) as error:
            print(error)
"""
APP = """
from flask import Flask, send_file

app = Flask(__name__)

@app.get("/")
def version():
    return "version 1"

@app.get("/file")
def file():
    return send_file(__file__, mimetype="text/plain")
"""


@pytest.fixture(scope="module")
def sandbox(module_engine: Engine) -> Iterator[Engine]:
    """The engine, which knows runsc for as long as this module's tests run."""
    if not shutil.which(RUNTIME) or os.getuid() or not PID_FILE.exists():
        pytest.skip("needs the package runsc, root and the engine's configuration")
    before = CONFIGURATION.read_text() if CONFIGURATION.exists() else None
    configuration = json.loads(before or "{}")
    runtimes = {
        **configuration.get("runtimes", {}),
        RUNTIME: {"path": shutil.which(RUNTIME), "runtimeArgs": ["--network=none"]},
    }
    configure(json.dumps({**configuration, "runtimes": runtimes}))
    wait_for(lambda: RUNTIME in module_engine.client.info()["Runtimes"], 10, "the runtime")
    yield module_engine
    module_engine.remove_containers()
    configure(before)


def configure(text: str | None) -> None:
    """Write the engine's configuration, or remove it, and let the engine read it."""
    if text is None:
        CONFIGURATION.unlink()
    else:
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(text)
    os.kill(int(PID_FILE.read_text()), signal.SIGHUP)


def get(container: Container, path: str = "/", number: int = 1, port: int = 80) -> list[str]:
    """The responses to requests from inside, one after the other."""
    url = f"http://127.0.0.1:{port}{path}"
    code, out = container.execute("/usr/bin/python3", "-I", "-c", GET, url, str(number))
    assert code == 0, out
    return out.splitlines()


def serves(container: Container, port: int = 80) -> bool:
    assert container.running(), container.logs()
    return get(container, port=port) == ["version 1"]


def run(engine: Engine, folder: Path, command: list[str]) -> Container:
    (folder / "app.py").write_text(APP)
    return engine.run(command, app=folder, runtime=RUNTIME, network_mode="none", ports=None)


def test_the_life_of_a_container(sandbox: Engine, app_folder: Path) -> None:
    container = run(sandbox, app_folder, [])
    wait_for(lambda: serves(container), PATIENCE, "the first page", every=1)
    assert container.execute("docker-flask", "health") == (0, "")
    assert container.execute("id", "-u", user="33") == (0, "33\n")
    assert "Uid:\t33\t33\t33\t33" in container.shell("cat /proc/1/status")
    assert get(container, number=20) == ["version 1"] * 20
    assert "\n".join(get(container, "/file")).strip() == APP.strip()

    (app_folder / "app.py").write_text(APP.replace("version 1", "version 2"))
    container.reload()
    assert get(container, number=5) == ["version 2"] * 5
    (app_folder / "app.py").write_text("raise RuntimeError('broken')")
    code, out = container.execute("docker-flask", "reload")
    assert (code, "reload failed" in out) == (1, True), out
    assert get(container) == ["version 2"]
    (app_folder / "app.py").write_text(APP)
    container.reload()

    for title in ("uWSGI worker", "uWSGI master", "nginx: worker", "nginx: master"):
        victims = container.pids(title)
        container.kill("KILL", victims[0])
        wait_for(lambda: serves(container), PATIENCE, f"a page after {title}", every=1)
        assert victims[0] not in container.pids(title)
    code, _ = container.stop()
    assert code == 0, container.logs()
    assert container.logs().count("Traceback") == 1, "that of the broken reload"


def test_debug_mode(sandbox: Engine, app_folder: Path) -> None:
    container = run(sandbox, app_folder, DEBUG)
    wait_for(lambda: serves(container, 5000), PATIENCE, "the first page", every=1)
    (app_folder / "app.py").write_text(APP.replace("version 1", "version 2"))
    wait_for(lambda: get(container, port=5000) == ["version 2"], PATIENCE, "the edit", every=1)
    assert container.stop()[0] == 0, container.logs()


def test_a_command(sandbox: Engine, app_folder: Path) -> None:
    container = run(sandbox, app_folder, ["run", "sleep", "600"])
    healthy = ["docker-flask", "health"]
    wait_for(lambda: container.execute(*healthy)[0] == 0, PATIENCE, "health", every=1)
    code, _ = container.stop()
    assert code == 128 + signal.SIGTERM, container.logs()
