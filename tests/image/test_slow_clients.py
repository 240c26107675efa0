"""Slow clients take nothing from a good one: no place, no worker, no memory for long."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import trust
from tests.support.harness import APPS, ROOT, Container, Engine, command_in_netns
from tests.support.loss import written_memory
from tests.support.marks import at_night

MB = 1 << 20
FOUR_WORKERS = {"WEB_CONCURRENCY": "4", "THREADS": "1"}
# More than fit into the places or the workers before nginx told the kinds apart.
FEW = {"headers": 300, "bodies": 1200, "static": 300, "dynamic": 40}
# Bytes of all processes that slow clients may not exceed (docs/reliability.md).
MOST_MEMORY = 320 * MB


@pytest.fixture(scope="module")
def folder(module_folder: Path) -> Path:
    """An application with a large response and a large static file."""
    shutil.copy(APPS / "hardening/app.py", module_folder)
    (module_folder / "static").mkdir()
    (module_folder / "static/large.bin").write_bytes(bytes(6_000_000))
    return module_folder


def start(engine: Engine, folder: Path, volumes: Any = None, **env: str) -> Container:
    """A container with one CPU."""
    limits: dict[str, Any] = {"mem_limit": "512m", "nano_cpus": 1_000_000_000}
    return engine.serve(app=folder, volumes=volumes, env={"ACCESS_LOG": "0", **env}, **limits)


@pytest.fixture(scope="module")
def four_workers(module_engine: Engine, folder: Path) -> Container:
    return start(module_engine, folder, **FOUR_WORKERS)


def slow(container: Container, kind: str, clients: int, seconds: float) -> dict[str, Any]:
    """What a good client sees meanwhile (tests/support/slow_clients.py)."""
    words = [sys.executable, "-m", "tests.support.slow_clients", "--kind", kind]
    words += ["--clients", str(clients), "--seconds", str(seconds)]
    command = command_in_netns(container.pid, words)
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds + 60
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    print(kind, clients, found)
    assert found["open_clients"] > 0
    return found


def processes(container: Container) -> set[str]:
    """The process ids of process 1, of nginx and of the application's server."""
    return {process[1] for process in container.docker.top()["Processes"]}


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["bodies", "dynamic", *at_night("headers", "static")])
def test_a_good_client_is_served(four_workers: Container, kind: str) -> None:
    found = slow(four_workers, kind, FEW[kind], 4)
    assert set(found["statuses"]) == {"200"}
    assert found["p99"] < 500


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize(
    ("kind", "clients"),
    [("dynamic", 300), ("range", 300), ("if-match", 300), ("post", 300), ("page", 4384)],
)
def test_slow_readers_hold_no_worker(engine: Engine, folder: Path, kind: str, clients: int) -> None:
    """However they ask for a large response. Some of them may get 503."""
    container = start(engine, folder)
    before = processes(container)
    found = slow(container, kind, clients, 40)
    assert set(found["statuses"]) == {"200"}
    assert found["p95"] <= 200
    assert before <= processes(container), "one was killed"


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize("env", [{}, FOUR_WORKERS], ids=["defaults", "four workers"])
@pytest.mark.parametrize(
    ("kind", "clients"), [("headers", 4000), ("bodies", 4000), ("static", 4000), ("medium", 1500)]
)
def test_thousands_of_slow_clients(
    engine: Engine, folder: Path, env: dict[str, str], kind: str, clients: int
) -> None:
    container = start(engine, folder, **env)
    found = slow(container, kind, clients, 25)
    most = written_memory(container)
    print(f"{most // MB} MB with slow clients")
    assert set(found["statuses"]) == {"200"}
    assert found["p99"] < 500
    assert most < (440 * MB if kind == "medium" else MOST_MEMORY)


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["silent", "half-hello", "hello"])
def test_4000_handshakes_that_never_end(engine: Engine, tmp_path: Path, kind: str) -> None:
    """They cost nginx little, so that a machine with other work serves the good client, too."""
    _, tls = trust.issue(tmp_path)
    container = start(engine, APPS / "hardening", tls["volumes"], TLS_REDIRECT="0", **tls["env"])
    cpu = container.worker_cpu()
    found = slow(container, kind, 4000, 40)
    assert set(found["statuses"]) == {"200"}
    assert found["p99"] < 500
    assert cpu() < 8, "each client comes twice"
    assert written_memory(container) < MOST_MEMORY
