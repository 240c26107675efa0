"""Compose: the command, and a project that is removed at the end."""

from __future__ import annotations

import functools
import json
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.harness import CLIENT_ENVIRONMENT, DOCKER, wait_for

# tools/install puts it there.
STANDALONE = Path(sys.executable).parent / "docker-compose"
BUILD_SECONDS = 250


@functools.cache
def command() -> list[str]:
    """Compose v2: docker's plug-in, or a program of its own."""
    plugin = [DOCKER, "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    if not STANDALONE.exists():
        pytest.skip("Compose v2 is missing: tools/install compose")
    return [str(STANDALONE)]


class Project:
    """A folder with a file for Compose, as a project with a name of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *options: str) -> None:
        self.name = f"docker-flask-test-{secrets.token_hex(4)}"
        self.folder = folder
        self._environment = {**CLIENT_ENVIRONMENT, **environment, "COMPOSE_ANSI": "never"}
        self._options = ["--project-name", self.name, *options]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run `docker compose watch` meanwhile, which first builds and starts the containers."""
        line = [*command(), *self._options, "watch"]
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(
                line, cwd=self.folder, env=self._environment, stdout=log, stderr=log
            ) as program,
        ):

            def enabled() -> bool:
                log.seek(0)
                text = log.read()
                assert program.poll() is None, text
                return "Watch enabled" in text

            try:
                wait_for(enabled, BUILD_SECONDS, "Compose to watch")
                yield
            finally:
                program.terminate()

    def attempt(self, *arguments: str, seconds: float = 180) -> subprocess.CompletedProcess[str]:
        """Run Compose to its end."""
        return subprocess.run(
            [*command(), *self._options, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run(self, *arguments: str, seconds: float = 180) -> str:
        """The output of a run that must not fail."""
        result = self.attempt(*arguments, seconds=seconds)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def port(self, service: str, inside: int) -> int:
        """The port of 127.0.0.1 that the engine picked."""
        listed = self.run("port", service, str(inside)).strip()
        assert re.fullmatch(r"127\.0\.0\.1:\d+", listed)
        return int(listed.partition(":")[2])

    def states(self) -> dict[str, str]:
        """The state of each service's container."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines]
        return {container["Service"]: container["State"] for container in found}

    def remove(self) -> None:
        """Remove its containers, networks and volumes."""
        self.run("--profile", "*", "down", "--volumes", "--timeout", "5")
