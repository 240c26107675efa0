"""What the tools say when this machine lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
# A client without buildx, and no package that could be installed.
PROGRAMS = {"docker": "[ $1 != buildx ] && echo Docker version 28.0.1, build 0", "apt-get": ""}
# An engine without images, and an mmdebstrap that only writes sources.list and runs the hooks.
BOOTSTRAP = {
    "docker": "case $1 in image) exit 1 ;; load) cat >/dev/null ;; esac",
    "dpkg": "echo amd64",
    "mmdebstrap": """
        cd "$(dirname "$0")" && mkdir -p etc/apt
        echo "deb http://deb.debian.org/debian trixie main
        deb http://deb.debian.org/debian trixie-updates main
        deb http://security.debian.org/debian-security trixie-security main" > etc/apt/sources.list
        for option; do case $option in
          --setup-hook=*) sh -c "${option#*=}" exec "$PWD" && cp etc/apt/sources.list downloaded ;;
          --customize-hook=*) sh -c "${option#*=}" exec "$PWD" ;;
        esac done
        : > "$option" """,
}


def put_programs(folder: Path, programs: Mapping[str, str]) -> None:
    for name, lines in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)


def test_a_docker_client_without_buildkit_is_named(tmp_path: Path) -> None:
    """In a folder that takes the place of PATH. A client that can build builds all other tests."""
    for name in ("bash", "env", "sed", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    put_programs(tmp_path, PROGRAMS)
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


def test_the_base_comes_from_the_mirror_and_does_not_name_it(tmp_path: Path) -> None:
    """tools/base-image with the variables that README.zh-CN sets."""
    put_programs(tmp_path, BOOTSTRAP)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "APT_MIRROR": "https://mirror.example/debian",
        "APT_SECURITY_MIRROR": "https://mirror.example/security",
    }
    command = [str(ROOT / "tools/base-image"), "trixie"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "docker-flask-base:trixie\n"
    downloaded, kept = (
        [line.split()[1:3] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("downloaded", "etc/apt/sources.list")
    )
    assert downloaded == [
        ["https://mirror.example/debian", "trixie"],
        ["https://mirror.example/debian", "trixie-updates"],
        ["https://mirror.example/security", "trixie-security"],
    ]
    assert kept == [
        ["http://deb.debian.org/debian", "trixie"],
        ["http://deb.debian.org/debian", "trixie-updates"],
        ["http://security.debian.org/debian-security", "trixie-security"],
    ]
    assert not (tmp_path / "etc/apt/sources.list.default").exists()
