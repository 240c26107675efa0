"""The image as platforms and units of systemd run it: docs/deploying.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import plans
from tests.support.harness import ROOT, Engine

QUADLET = Path(sys.executable).parent / "quadlet"
READ_ONLY = {"read_only": True, "cap_drop": ["ALL"]}

# What each platform documents: the port, the signal of a stop, its seconds; and its limits.
PLATFORMS: dict[str, tuple[str, str, float, dict[str, Any]]] = {
    "Cloud Run": ("8080", "TERM", 10, {"mem_limit": "512m"}),
    "Railway": ("6543", "TERM", 10, {}),
    "Render": ("10000", "TERM", 30, {"mem_limit": "512m"}),
    "Fly": ("8080", "INT", 10, {"mem_limit": "256m"}),
    "any, locked down": ("8080", "TERM", 10, {**READ_ONLY, "user": "12345:0"}),
}


@pytest.mark.nightly
@pytest.mark.parametrize("platform", PLATFORMS)
def test_platforms(engine: Engine, platform: str) -> None:
    """Nothing is set but PORT and HEALTH_PATH."""
    port, stop, seconds, options = PLATFORMS[platform]
    container = engine.run(
        env={"PORT": port, "HEALTH_PATH": "/up"},
        ports={f"{port}/tcp": ("127.0.0.1", None)},
        **options,
    )
    inside = int(port)
    container.wait_until_serving("/up", inside)
    host = {"Host": "healthcheck.example"}
    assert container.get("/up", inside, headers=host).text == "ok\n"
    assert container.get("/", inside).status_code == 200
    container.docker.kill(stop)
    assert container.wait_for_exit(seconds) == 0


@pytest.mark.nightly
def test_podman_makes_a_service_of_the_quadlet_unit() -> None:
    if not QUADLET.exists():
        pytest.skip("podman's generator is missing: tools/install quadlet")
    result = subprocess.run(
        [QUADLET, "-dryrun"],
        env={**os.environ, "QUADLET_UNIT_DIRS": str(ROOT / "deploy/quadlet")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (start,) = re.findall(r"^ExecStart=(.*)$", result.stdout, re.MULTILINE)
    for flag in ("--read-only", "--cap-drop all", "--user 33:33", "no-new-privileges"):
        assert flag in start
    chosen = plans.make(**dict(re.findall(r"--env (\w+)=(\S+)", start))).settings
    assert f":{chosen.listen_port} " in start
    (stop,) = re.findall(r"--stop-timeout=(\d+)", start)
    (kill,) = re.findall(r"^TimeoutStopSec=(\d+)", result.stdout, re.MULTILINE)
    (begin,) = re.findall(r"^TimeoutStartSec=(\d+)", result.stdout, re.MULTILINE)
    assert chosen.graceful_timeout < int(stop) < int(kill)
    assert chosen.start_timeout < int(begin)
