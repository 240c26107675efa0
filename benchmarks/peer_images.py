"""Other usual ways to serve a Flask application, each an image that the benchmarks compare with.

Each is a folder of peers/ with a Dockerfile: it takes the build argument BASE_IMAGE, serves
`app:app` from /app, and listens on port 80.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.harness import BASE_IMAGE, CA_BUNDLE, docker_client

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks/peers"

BUILD_SECONDS = 900
PASSED_ON = ("PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")


def names() -> list[str]:
    """The peers that there are, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile"))


def build(name: str) -> str:
    """Build a peer's image on the base of the image under test; returns its tag.

    RuntimeError with the build's output when it fails.
    """
    tag = f"docker-flask-peer-{name}"
    words = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--tag", tag]
    for variable in PASSED_ON:
        if os.environ.get(variable):
            words += ["--build-arg", variable]
    if CA_BUNDLE.is_file():
        words += ["--secret", f"id=ca,src={CA_BUNDLE}"]
    built = docker_client("build", *words, str(FOLDER / name), seconds=BUILD_SECONDS)
    if built.returncode:
        raise RuntimeError(f"{tag} can't be built:\n{built.stdout}{built.stderr}")
    return tag
