"""What `make release` and `make verify` do, step by step."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from . import cves, vex
from .build import build, description, time_of_commit
from .layout import Archive, Image, Layout
from .registry import PROVENANCE, SBOM, VEX, Refused, Repository, digest_of, platforms_of, run

ROOT = Path(__file__).parents[1]


def say(line: str) -> None:
    """Print a line."""
    print(f"docker-flask: {line}", flush=True)


def version_of(source: Path) -> str:
    """The version: the Dockerfile has it, for builds without any tool."""
    text = (source / "Dockerfile").read_text()
    (version,) = re.findall(r"(?m)^ARG VERSION=(\d+\.\d+\.\d+)$", text)
    return str(version)


def notes_of(source: Path) -> str:
    """The text of the release: CHANGELOG's section."""
    version, text = version_of(source), (source / "CHANGELOG.md").read_text()
    form = rf"(?ms)^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(form, text)
    if not found:
        raise Refused(f"CHANGELOG.md has no section with a date for {version}")
    return found[1].strip()


@contextmanager
def committed() -> Iterator[Path]:
    """The files of the current commit, and no others, with the same modes everywhere."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        run("git", "worktree", "add", "--detach", source, "HEAD", folder=ROOT)
        try:
            yield source
        finally:
            run("git", "worktree", "remove", "--force", source, folder=ROOT)
            os.umask(before)


def check_commit(source: Path) -> None:
    """Fail if the tag of this version is another commit; say what will be missing."""
    tag = f"v{version_of(source)}"
    command = ["git", "tag", "--list", tag]
    if run(*command, folder=source) != run(*command, "--points-at", "HEAD", folder=source):
        raise Refused(f"{tag} is another commit: `git checkout {tag}`, or change ARG VERSION")
    if run("git", "status", "--porcelain", "--untracked-files=no", folder=ROOT):
        say("changes that are not committed are not in this release")


@dataclass(frozen=True)
class Order:
    """What is to be published, where, and by whom."""

    repository: Repository
    source: Path
    key: str
    today: date
    if_changed: bool = False
    ask: cves.Ask | None = cves.ask_osv

    @property
    def tags(self) -> list[str]:
        """Three names: only the first one, with a date, stays what it is."""
        version = version_of(self.source)
        return [f"{version}-{self.today:%Y%m%d}", version, version.rpartition(".")[0]]

    def check(self) -> None:
        """Fail before the work if a name is taken, CHANGELOG has no text, or nobody can sign."""
        notes_of(self.source)
        self.repository.check_signer(self.key)
        if self.repository.manifest(f":{self.tags[0]}"):
            raise Refused(f"{self.repository.name}:{self.tags[0]} is published, and stays as it is")

    def build_and_publish(self, platforms: Sequence[str], started: int) -> None:
        """Build the images, and publish them."""
        self.check()
        with tempfile.TemporaryDirectory() as folder:
            images = [build(self.source, each, Path(folder), started) for each in platforms]
            self.publish(images)

    def publish(self, archives: Sequence[Archive]) -> None:
        """Publish images: first the files, then the signatures, at last the tags."""
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(Path(folder), time_of_commit(self.source))
            for archive in archives:
                layout.add(archive)
            digest = layout.finish()
            for image in layout.images:
                say(f"{image.archive.platform}: {image.digest}, {image.size / 1e6:.1f} MB")
            newest = f":{self.tags[1]}"
            # The same packages and the same commit give the same digest.
            if self.if_changed and digest_of(self.repository.manifest(newest) or b"") == digest:
                say(f"{self.repository.name}{newest} is {digest}: nothing to publish")
                return
            if self.ask:
                sboms = [image.sbom for image in layout.images]
                number = cves.check(sboms, self.today, ask=self.ask)
                say(f"no update is missing; {number} known vulnerabilities have none")
            statements = [statements_on(image, self) for image in layout.images]
            self.repository.push(layout.folder, f"@{digest}")
            self.repository.sign(digest, self.key)
            for image, of_image in zip(layout.images, statements, strict=True):
                for kind, statement in of_image.items():
                    self.repository.attest(image.digest, kind, statement, self.key)
            self.check()  # Another run may have published since.
            # The name that stays is the last one: until then, the next run can publish all of them.
            for tag in reversed(self.tags):
                self.repository.push(layout.folder, f":{tag}")
                say(f"published {self.repository.name}:{tag}")
        say(f"digest: {digest}")


def statements_on(image: Image, order: Order) -> dict[str, Any]:
    """What is attached to an image, by cosign's names."""
    product = f"{order.repository.name}@{image.digest}"
    return {
        SBOM: image.sbom,
        PROVENANCE: description(image, order.tags[0]),
        VEX: vex.document(order.source, image.sbom, product, order.today),
    }


def may_be_called(published: str, reference: str) -> bool:
    """True if a release, 0.2.0-20261125, has this reference: :0.2.0, :0.2, or a digest."""
    tag = reference.removeprefix(":")
    of_publisher = f"{published}.".startswith((f"{tag}-", f"{tag}."))
    return of_publisher or tag == "latest" or tag.startswith("@")


def verify(image: str, key: str) -> None:
    """Check signatures, files and statements of a published image."""
    name, mark, _ = image.partition("@")
    if not mark:
        name = image.rpartition(":")[0] if ":" in image.rpartition("/")[2] else image
    repository = Repository(name)
    reference = image.removeprefix(name) or ":latest"
    manifest = repository.manifest(reference)
    if not manifest:
        raise Refused(f"there is no {image}")
    digest = digest_of(manifest)
    repository.verify(digest, key)
    signer = f"with the key of {key}" if key else "by the workflow on GitHub"
    say(f"{image} is {digest}: signed {signer}")
    with tempfile.TemporaryDirectory() as folder:
        repository.pull(digest, Path(folder))
        files = len(list(Path(folder).iterdir())) - 1  # without skopeo's own
    say(f"{files} files have the checksums that are signed")
    for platform, of_platform in platforms_of(manifest).items():
        repository.verify(of_platform, key)
        sbom = repository.attested(of_platform, SBOM, key)
        source = repository.attested(of_platform, PROVENANCE, key)["buildDefinition"]
        commit = source["resolvedDependencies"][0]["digest"]["gitCommit"]
        published = source["externalParameters"].get("name", "an older release")
        # A registry may give the name to another release, which is signed as well.
        if not may_be_called(published, reference):
            raise Refused(f"{image} is {published}, which is not published under this name")
        number = len(sbom["components"])
        say(
            f"{platform} is {of_platform}: {published}, signed list of {number} packages; "
            f"built from {commit}"
        )
        judged = repository.attested(of_platform, VEX, key)["statements"]
        counts = Counter(statement["status"] for statement in judged)
        words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        say(f"{platform}: signed statements on vulnerabilities: {words or 'none'}")
