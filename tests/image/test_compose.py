"""compose.yaml: production, development and the watching of edits."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import certificates
from tests.support.compose import Project
from tests.support.harness import (
    BASE_IMAGE,
    CA_BUNDLE,
    HELLO,
    IMAGE,
    NO_TLS,
    ROOT,
    docker_client,
    wait_for,
)

PORTS = {"PORT": "127.0.0.1:0", "DEBUG_PORT": "127.0.0.1:0"}
NOT_BUILT = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__")

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]  # one test builds Debian 12


def page(port: int, words: str = "", scheme: str = "http") -> Callable[[], httpx.Response | None]:
    """Look for a page with these words."""

    def look() -> httpx.Response | None:
        try:
            response = httpx.get(f"{scheme}://127.0.0.1:{port}/", verify=NO_TLS)
        except httpx.TransportError:
            return None
        return response if response.status_code == 200 and words in response.text else None

    return look


@pytest.fixture
def project() -> Iterator[Project]:
    """This repository."""
    project = Project(ROOT, {"IMAGE": IMAGE, **PORTS})
    yield project
    project.remove()


def test_the_file_is_valid_and_hardened(project: Project) -> None:
    config: dict[str, Any] = json.loads(
        project.run("--profile", "debug", "config", "--format", "json")
    )
    assert set(config["services"]) == {"web", "debug"}
    for service in config["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"]["max-size"]
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["develop"]["watch"]
    assert config["services"]["web"]["restart"] == "unless-stopped"
    assert list(json.loads(project.run("config", "--format", "json"))["services"]) == ["web"]


def test_production_and_development(project: Project) -> None:
    """Both serve with all flags of the file."""
    project.run("--profile", "debug", "up", "--no-build", "--detach")
    for service, port, server in (("web", 80, "nginx"), ("debug", 5000, "Werkzeug")):
        response = wait_for(page(project.port(service, port)), 20, f"{service} to serve")
        assert server in response.headers["Server"]


def test_https_as_its_page_shows_it(tmp_path: Path) -> None:
    (example,) = re.findall("```yaml\n(.*?)```", (ROOT / "docs/https.md").read_text(), re.S)
    example = example.replace("image: docker-flask", f"image: {IMAGE}")
    for port in (80, 443):
        example = example.replace(f'"{port}:{port}"', f'"127.0.0.1::{port}"')
    (tmp_path / "compose.yaml").write_text(example)
    certificates.write(tmp_path / "certs")
    project = Project(tmp_path, {})
    try:
        project.run("up", "--detach")
        wait_for(page(project.port("web", 443), "This is the sample.", "https"), 20, "HTTPS")
        plain = httpx.get(f"http://127.0.0.1:{project.port('web', 80)}/a", verify=NO_TLS)
        assert (plain.status_code, plain.headers["Location"]) == (308, "https://127.0.0.1/a")
    finally:
        project.remove()


def test_watch_builds_and_starts_again_after_an_edit(tmp_path: Path) -> None:
    folder, image = tmp_path / "docker-flask", f"{IMAGE}:{secrets.token_hex(4)}"
    shutil.copytree(ROOT, folder, ignore=NOT_BUILT)
    edited = folder / "app/app.py"
    edited.write_text(HELLO.replace('"hello"', '"version 1"'))
    trusted = {"CA_BUNDLE": str(CA_BUNDLE)} if CA_BUNDLE.is_file() else {}
    project = Project(folder, {"IMAGE": image, "BASE_IMAGE": BASE_IMAGE, **trusted, **PORTS})

    def new_page() -> httpx.Response | None:
        with suppress(AssertionError):  # the container is away while it is replaced
            return page(project.port("web", 80), "version 2")()
        return None

    try:
        with project.watching():
            wait_for(page(project.port("web", 80), "version 1"), 20, "the first page")
            begun = time.monotonic()
            edited.write_text(HELLO.replace('"hello"', '"version 2"'))
            wait_for(new_page, 60, "the edit", every=0.5)
            print(f"edit served after {time.monotonic() - begun:.1f} s")
    finally:
        project.remove()
        docker_client("rmi", "--force", image)
