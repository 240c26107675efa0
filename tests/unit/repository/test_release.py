"""What a maintainer has to keep in step, because no tool derives one from the other."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from release.publish import version_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("folder", "some"),
    [
        (".", {"flask", "uwsgi", "werkzeug"}),
        ("docker_flask", {"uwsgi", "werkzeug", "packaging"}),
        ("sbom", {"cyclonedx-python-lib"}),
    ],
)
def test_the_lock_was_made_from_requirements(folder: str, some: set[str]) -> None:
    """If this fails: run `make lock`."""
    checksum = hashlib.sha256((ROOT / folder / "requirements.txt").read_bytes()).hexdigest()
    lock = (ROOT / folder / "requirements.lock").read_text()
    assert lock.startswith(f"# sha256 of requirements.txt: {checksum}\n")
    names = re.findall(r"^(\S+)==", lock, re.MULTILINE)
    assert some <= set(names)
    assert len(re.findall(r"^\S+==.* \\\n +--hash=sha256:\w{64}\b", lock, re.MULTILINE)) == len(
        names
    )


def test_both_locks_name_the_same_versions() -> None:
    """Two versions of a package would be in the image."""
    own, others = (
        dict(re.findall(r"^(\S+)==(\S+)", (ROOT / folder / "requirements.lock").read_text(), re.M))
        for folder in ("docker_flask", ".")
    )
    shared = own.keys() & others.keys()
    assert shared >= {"uwsgi", "werkzeug"}
    assert {name: own[name] for name in shared} == {name: others[name] for name in shared}


def test_the_dockerfile_and_the_changelog_name_the_same_release() -> None:
    version = version_of(ROOT)
    headings = re.findall(
        r"^## (\S+)(?: - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert headings[:2] == ["Unreleased", version]
