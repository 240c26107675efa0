"""What a maintainer has to keep in step, because no tool derives one from the other."""

from __future__ import annotations

import hashlib
import re
from argparse import Namespace
from contextlib import nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from release import __main__ as program
from release import readmes, vex
from release.publish import version_of
from release.registry import Refused

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


ENGLISH = """# docker-flask

[other](README.zh-CN.md) [Settings](docs/settings.md#threads)

## Run it

```
docker run docker-flask   # serves
```

| `THREADS` | 16 |
| `PRELOAD` | 0 |
"""
# In another order, and with sections of its own.
CHINESE = """# docker-flask

## \u8bbe\u7f6e

`PRELOAD`: 0, `THREADS`: 16 ([\u8bbe\u7f6e](docs/settings.md#threads))

```
docker run docker-flask   # \u8fd0
```

## \u955c

--build-arg APT_MIRROR= --build-arg APT_SECURITY_MIRROR= --build-arg PIP_INDEX_URL=
"""
LACKS = "README.zh-CN.md lacks what README.md has: "


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository whose two pages say the same."""
    (tmp_path / "README.md").write_text(ENGLISH)
    (tmp_path / "README.zh-CN.md").write_text(CHINESE)
    (tmp_path / "Dockerfile").write_text(
        "ARG APT_MIRROR\nARG APT_SECURITY_MIRROR\nARG PIP_INDEX_URL="
    )
    (tmp_path / "docs/pictures").mkdir(parents=True)
    for language, word in (("", "one"), (".zh-CN", "\u4e00")):
        (tmp_path / f"docs/pictures/overview{language}.svg").write_text(f"<svg><text>{word}</text>")
    readmes.check(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("README.md", "run docker", "run -d docker", f"{LACKS}`docker run -d docker-flask`"),
        ("README.md", "| 16 |\n", "| 32 |\n", f"{LACKS}`32`"),
        ("README.md", "THREADS", "WORKERS", f"{LACKS}`WORKERS`"),
        ("README.md", "docs/settings.md#threads", "docs/nginx.md", f"{LACKS}`docs/nginx.md`"),
        ("Dockerfile", "PIP_INDEX_URL", "PIP", "the Dockerfile lacks these build arguments: `PIP_"),
        ("README.zh-CN.md", "PIP_INDEX_URL", "APT_MIRROR", "lacks these build arguments: `PIP_IN"),
        (
            "docs/pictures/overview.svg",
            "<svg>",
            "<svg/>",
            "the shapes of docs/pictures/overview.zh",
        ),
    ],
)
def test_a_release_says_what_the_chinese_readme_lacks(
    source: Path, file: str, old: str, new: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is built: a contributor need not write Chinese, so `make test` passes."""
    path = source / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    for name, value in (
        ("base_of", lambda *_: None),
        ("check_commit", lambda _: None),
        ("committed", lambda: nullcontext(source)),
    ):
        monkeypatch.setattr(program, name, value)
    order = Namespace(
        platforms="linux/amd64",
        registry="127.0.0.1:1",
        key="",
        if_changed=False,
        without_cves=True,
    )
    with pytest.raises(Refused, match=re.escape(message)):
        program.publish(order)


NOT_USED = {
    "status": "not_affected",
    "justification": "vulnerable_code_not_in_execute_path",
    "impact_statement": "captures in `map`; not in the image's configuration",
}


@pytest.mark.parametrize(
    ("system", "version", "used", "unused"),
    [
        ("debian-13", "1.26.3-3+deb13u10", {"status": "fixed"}, {"status": "fixed"}),
        (
            "debian-12",
            "1.22.1-9+deb12u7",
            {"status": "affected", "action_statement": "update nginx to 1.22.1-9+deb12u8"},
            NOT_USED,
        ),
        ("ubuntu-24.04", "1.24.0-2ubuntu7.5", {"status": "under_investigation"}, NOT_USED),
    ],
)
def test_what_a_release_says_of_the_faults_of_nginx(
    system: str, version: str, used: dict[str, str], unused: dict[str, str]
) -> None:
    """The last row of SECURITY.md's table is of configurations that the image does not have."""
    kind = system.partition("-")[0]
    sbom = nginx(f"pkg:deb/{kind}/nginx@{version}?distro={system}&upstream=nginx@{version}")
    found = dict(vex.statements(ROOT, sbom))
    assert len(found) == len(re.findall(r"CVE-", nginx_table()))
    assert (found["CVE-2026-42946"], found["CVE-2026-60005"]) == (used, unused)


def nginx_table() -> str:
    """SECURITY.md's table of nginx's faults."""
    _, _, section = (ROOT / "SECURITY.md").read_text().partition("## nginx's own faults\n")
    return section.partition("\n## ")[0]


def nginx(purl: str) -> Any:
    """A list of one package."""
    return {"components": [{"purl": purl.replace("+", "%2B")}]}


@pytest.mark.parametrize(
    ("justification", "status"),
    [
        (
            "",
            {
                "status": "affected",
                "action_statement": "no TLS; an image with the update follows until 2026-12-31",
            },
        ),
        (
            "component_not_present",
            {
                "status": "not_affected",
                "justification": "component_not_present",
                "impact_statement": "no TLS",
            },
        ),
        ("nobody uses it", None),
    ],
)
def test_what_a_release_says_of_an_exception(
    tmp_path: Path, justification: str, status: dict[str, str] | None
) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release/exceptions.toml").write_text(
        '[[exception]]\nid = "CVE-2026-1"\nreason = "no TLS"\nuntil = 2026-12-31\n'
        f'justification = "{justification}"\n'
    )
    product = "ghcr.io/owner/docker-flask@sha256:0"
    written = partial(vex.document, tmp_path, {"components": []}, product, date(2026, 11, 30))
    if status is None:
        with pytest.raises(Refused, match=r"^CVE-2026-1: justification .* is none of: component_n"):
            written()
        return
    purl = "pkg:oci/docker-flask@sha256%3A0?repository_url=ghcr.io%2Fowner%2Fdocker-flask"
    assert written() == {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://ghcr.io/owner/docker-flask@sha256:0",
        "author": "ghcr.io/owner/docker-flask",
        "timestamp": "2026-11-30T00:00:00Z",
        "version": 1,
        "statements": [
            {"vulnerability": {"name": "CVE-2026-1"}, "products": [{"@id": purl}], **status}
        ],
    }
