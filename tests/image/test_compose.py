"""compose.yaml: production, development and the watching of edits, with Compose v2.

Compose runs in a container, because not every distribution has version 2.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import (
    BASE_IMAGE,
    CA_BUNDLE,
    IMAGE,
    NO_TLS,
    ROOT,
    Engine,
    docker_client,
    wait_for,
)

SOCKET = Path("/var/run/docker.sock")
PROGRAM = """
for program in /usr/libexec/docker/cli-plugins/docker-compose /usr/bin/docker-compose; do
  if [ -x "$program" ]; then exec "$program" "$@"; fi
done
"""

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]
Compose = Callable[..., str]


@pytest.fixture(scope="module")
def compose_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with Compose v2 from the distribution of the base."""
    if not SOCKET.exists():
        pytest.skip(f"the engine does not listen on {SOCKET}")
    folder, tag = tmp_path_factory.mktemp("compose"), f"docker-flask-compose-{secrets.token_hex(4)}"
    (folder / "install-os.sh").write_text((ROOT / "docker_flask/install-os.sh").read_text())
    (folder / "compose").write_text(f"#!/bin/sh\n{PROGRAM}")
    (folder / "Dockerfile").write_text(
        f"FROM {BASE_IMAGE}\nCOPY --chmod=755 install-os.sh compose /usr/local/bin/\n"
        "RUN --mount=type=secret,id=ca \\\n"
        "  install-os.sh docker-compose-v2 || install-os.sh docker-compose\n"
    )
    secret = ["--secret", f"id=ca,src={CA_BUNDLE}"] if CA_BUNDLE.is_file() else []
    result = docker_client("build", *secret, "-t", tag, str(folder), seconds=240)
    assert result.returncode == 0, result.stderr[-2000:]
    yield tag
    docker_client("rmi", "--force", tag)


@pytest.fixture
def compose(compose_image: str, engine: Engine) -> Iterator[Compose]:
    """Runs Compose in this repository, as a project of its own, which is removed at the end."""
    project = f"docker-flask-test-{secrets.token_hex(4)}"
    environment = {"IMAGE": IMAGE, "PORT": "127.0.0.1:0", "DEBUG_PORT": "127.0.0.1:0"}

    def run(*arguments: str) -> str:
        container = engine.run(
            ["--project-name", project, *arguments],
            image=compose_image,
            entrypoint="/usr/local/bin/compose",
            env=environment,
            working_dir=str(ROOT),
            volumes={
                str(SOCKET): {"bind": str(SOCKET), "mode": "rw"},
                str(ROOT): {"bind": str(ROOT), "mode": "ro"},
            },
        )
        code, out, err = container.finish(120)
        assert code == 0, err
        return out

    yield run
    run("--profile", "debug", "down", "--volumes", "--timeout", "5")


def test_the_file_is_valid_and_hardened(compose: Compose) -> None:
    config: dict[str, Any] = json.loads(compose("--profile", "debug", "config", "--format", "json"))
    assert set(config["services"]) == {"web", "debug"}
    for service in config["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"]["max-size"]
        assert service["develop"]["watch"]
    assert config["services"]["web"]["restart"] == "unless-stopped"
    assert list(json.loads(compose("config", "--format", "json"))["services"]) == ["web"]


def test_production_and_development(compose: Compose, engine: Engine) -> None:
    """Both serve with all flags of the file, and production keeps what is uploaded."""
    compose("--profile", "debug", "up", "--no-build", "--detach")
    for service, port, server in (("web", "80", "nginx"), ("debug", "5000", "Werkzeug")):
        listed = compose("--profile", "debug", "port", service, port).strip()
        assert re.fullmatch(r"127\.0\.0\.1:\d+", listed)

        def look(address: str = listed) -> httpx.Response | None:
            try:
                answer = httpx.get(f"http://{address}/", verify=NO_TLS)
            except httpx.TransportError:
                return None
            return answer if answer.status_code == 200 else None

        answer = wait_for(look, 20, f"{service} to serve")
        assert server in answer.headers["Server"]
