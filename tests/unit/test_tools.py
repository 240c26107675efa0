"""What the tools say when this machine lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = """#!/bin/sh
case "$*" in
  --version) echo "Docker version {version}, build 0" ;;
  version*) echo {version} ;;
  buildx*) exit {buildx} ;;
  *) echo "DOCKER_BUILDKIT=$DOCKER_BUILDKIT docker $*" ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that takes the place of PATH: no docker of this machine's is in it."""
    for name in ("bash", "env", "sed", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    apt = tmp_path / "apt-get"  # installs nothing
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    return tmp_path


def tools_docker(programs: Path, version: str, buildx: bool) -> subprocess.CompletedProcess[str]:
    client = programs / "docker"
    client.write_text(DOCKER.format(version=version, buildx=0 if buildx else 1))
    client.chmod(0o755)
    return subprocess.run(
        [ROOT / "tools/docker", "build", "."],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


@pytest.mark.parametrize(("version", "buildx"), [("20.10.24", False), ("28.0.1", True)])
def test_a_client_that_can_build_is_used(programs: Path, version: str, buildx: bool) -> None:
    result = tools_docker(programs, version, buildx)
    assert (result.returncode, result.stdout) == (0, "DOCKER_BUILDKIT=1 docker build .\n")


def test_a_client_without_buildkit_is_named(programs: Path) -> None:
    result = tools_docker(programs, "28.0.1", buildx=False)
    assert (result.returncode, result.stdout) == (69, "")
    if os.geteuid() == 0:
        words = "no docker client here can build with BuildKit: install docker-buildx"
    else:
        words = 'install the packages "docker.io" as root, then run this command again'
    assert result.stderr.splitlines()[-1] == f"docker-flask: {words}"
