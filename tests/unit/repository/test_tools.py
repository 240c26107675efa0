"""What the tools say when this machine lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
# A client without buildx, and no package that could be installed.
PROGRAMS = {"docker": "[ $1 != buildx ] && echo Docker version 28.0.1, build 0", "apt-get": ""}


def test_a_docker_client_without_buildkit_is_named(tmp_path: Path) -> None:
    """In a folder that takes the place of PATH. A client that can build builds all other tests."""
    for name in ("bash", "env", "sed", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name, line in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    command = [str(ROOT / "tools/docker"), "build", "."]
    result = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (69, "")
    if os.geteuid() == 0:
        words = "no docker client here can build with BuildKit: install docker-buildx"
    else:
        words = 'install the packages "docker.io" as root, then run this command again'
    assert result.stderr.splitlines()[-1] == f"docker-flask: {words}"
