"""SECURITY.md names tests that exist, and every item; rules for what the image is built from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "SECURITY.md").read_text()
DOCKERFILES = [ROOT / "Dockerfile", *ROOT.glob("benchmarks/peers/*/Dockerfile")]


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines if not re.search(r"\| (Test|Debian)", line)]


def named_in(text: str) -> list[tuple[str, str]]:
    """The tests that a text names: a file, and a function or nothing."""
    return re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)


def test_tests_that_are_named_exist() -> None:
    named = named_in(TEXT)
    assert len(named) > 50
    for file, name in named:
        text = (ROOT / file).read_text()
        assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), f"{file}::{name}"


def test_each_claim_has_a_test() -> None:
    claims = rows(section("## What does the image defend against?"))
    assert len(claims) > 20
    assert [claim for claim in claims if not named_in(claim[-1])] == []


@pytest.mark.parametrize(
    ("heading", "count"), [("section 4: images", 12), ("section 5: containers", 32)]
)
def test_each_item_of_the_benchmark_has_a_row(heading: str, count: int) -> None:
    found = rows(section(f"### CIS Docker Benchmark, {heading}"))
    items = [f"{heading.split()[1][0]}.{number}" for number in range(1, count + 1)]
    numbers = [number for row in found for number in re.findall(r"\b[45]\.\d+", row[0])]
    assert sorted(numbers, key=items.index) == items
    for item, who, what in found:
        assert who.startswith(("the image", "you")), item
        assert named_in(what) or who.startswith("you"), f"{item}: the image decides, without a test"


def test_the_dockerfile_copies() -> None:
    for file in DOCKERFILES:
        assert not re.search(r"^ADD\b", file.read_text(), re.MULTILINE | re.IGNORECASE), file


def test_packages_are_updated_and_installed_in_one_step() -> None:
    """The Dockerfile installs packages with this script only."""
    assert "apt-get" not in (ROOT / "Dockerfile").read_text()
    script = (ROOT / "docker_flask/install-os.sh").read_text()
    assert re.search(r"^  apt update\n  apt install .*\n.*\n? *rm -rf", script, re.MULTILINE)
