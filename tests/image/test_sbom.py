"""The image's own list of its packages: its SBOM."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.harness import ROOT, Container, Engine

SBOM = "/opt/docker-flask/sbom.json"


@pytest.fixture(scope="module")
def container(module_engine: Engine) -> Container:
    """A container for questions."""
    return module_engine.run(["sleep", "600"])


@pytest.fixture(scope="module")
def sbom(container: Container) -> dict[str, Any]:
    """The list, as the image has it."""
    code, out = container.execute("cat", SBOM)
    assert code == 0, out
    return json.loads(out)


def test_the_sbom_is_of_this_image(sbom: dict[str, Any]) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    described = sbom["metadata"]["component"]
    version = (ROOT / "VERSION").read_text().strip()
    assert (described["name"], described["version"]) == ("docker-flask", version)


def test_the_sbom_lists_the_packages_of_the_system(
    container: Container, sbom: dict[str, Any]
) -> None:
    found = listed(sbom, "deb")
    _, out = container.execute("dpkg-query", "-W", "-f", "${Package}==${Version}\n")
    assert found == sorted(out.splitlines())
    assert len(found) > 50


def test_the_sbom_lists_the_packages_of_python(container: Container, sbom: dict[str, Any]) -> None:
    """All but that of the image itself, which no index has."""
    _, out = container.execute("pip", "list", "--format=freeze", "--exclude=docker-flask")
    assert listed(sbom, "pypi") == sorted(out.lower().splitlines())
    (flask,) = [part for part in sbom["components"] if part["name"] == "flask"]
    assert flask["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]


def test_nothing_of_the_generator_is_in_the_image(container: Container) -> None:
    code, out = container.execute("find", "/", "-xdev", "-iname", "*cyclonedx*")
    assert (code, out) == (0, "")


def listed(sbom: dict[str, Any], kind: str) -> list[str]:
    """Names and versions of one kind of packages, sorted."""
    packages = [part for part in sbom["components"] if part["purl"].startswith(f"pkg:{kind}/")]
    return sorted(f"{part['name']}=={part['version']}" for part in packages)
