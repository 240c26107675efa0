"""Builds an image without a cache, and describes how: the provenance, in the form of SLSA."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from .layout import Archive, Image
from .registry import Refused, run

BUILT_HERE = "docker-flask-base:"  # by tools/base-image
LABEL = "org.opencontainers.image"
# What an earlier build has compiled is in no release.
CACHE = re.compile(r" *--mount=type=cache,\S+ \\\n")


def build(source: Path, platform: str, folder: Path, started: int) -> Archive:
    """Build the image of these files, which are not older than `started`, for a platform."""
    tag = f"docker-flask-release-{os.getpid()}"
    archive = folder / f"{platform.replace('/', '-')}.tar"
    docker, recipe = source / "tools/docker", folder / "Dockerfile"
    recipe.write_text(CACHE.sub("", (source / "Dockerfile").read_text()))
    options: list[str | Path] = ["--no-cache", "--file", recipe, "--platform", platform]
    # Statements of the engine's own would have a digest of their own.
    environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    environment["BASE_IMAGE"] = base = base_of(source, platform)
    command: list[str | Path] = [source / "tools/build", tag, *options]
    try:
        if subprocess.run(command, env=environment, check=False).returncode:
            raise Refused(f"the build for {platform} failed")
        run(docker, "save", "--output", archive, tag)
    finally:
        with suppress(Refused):  # without a build, there is none
            run(docker, "image", "rm", tag)
    form = "{{with .RepoDigests}}{{index . 0}}{{else}}{{.Id}}{{end}}"
    digest = run(docker, "image", "inspect", "--format", form, base).strip()
    return Archive(platform, archive, started, base, digest.rpartition(":")[2])


def base_of(source: Path, platform: str) -> str:
    """The name of the base image for a platform, which is on this machine then."""
    base = run(source / "tools/base-image").strip()
    form = "{{.Os}}/{{.Architecture}}"
    found = run(source / "tools/docker", "image", "inspect", "--format", form, base).strip()
    if found == platform or not base.startswith(BUILT_HERE):
        return base
    # A base that was built here is for one processor; a registry has all.
    release = base.removeprefix(BUILT_HERE)
    return run(source / "tools/base-image", f"{release}-{platform.partition('/')[2]}").strip()


def time_of_commit(source: Path) -> int:
    """The time that the image's own files have."""
    return int(run("git", "log", "-1", "--format=%ct", folder=source))


def description(image: Image, name: str) -> dict[str, Any]:
    """What the image was built from, by what, and the name that it keeps: 0.2.0-20261125."""
    built, labels = image.archive, image.labels
    repository = labels.get(f"{LABEL}.source", "unknown")
    commit = {"uri": f"git+{repository}", "digest": {"gitCommit": labels[f"{LABEL}.revision"]}}
    return {
        "buildDefinition": {
            "buildType": f"{repository}/blob/main/docs/building.md#a-release",
            "externalParameters": {
                "command": "make release",
                "platform": built.platform,
                "name": name,
            },
            "resolvedDependencies": [
                commit,
                {"uri": f"docker:{built.base}", "digest": {"sha256": built.base_sha256}},
            ],
        },
        # The workflow on GitHub, else a person's machine.
        "runDetails": {"builder": {"id": os.environ.get("GITHUB_WORKFLOW_REF", "make release")}},
    }
