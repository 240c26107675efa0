"""Measure the time from `git clone` to the first page with Compose, of the last commit here.

    python -m benchmarks.first_page

The clone is from this machine's disk. The base image is there, and so are the packages that pip has
downloaded for earlier builds.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.compose import Project
from tests.support.harness import (
    BASE_IMAGE,
    CA_BUNDLE,
    IMAGE,
    NO_TLS,
    ROOT,
    docker_client,
    wait_for,
)

TRIES = 5
BUILD_SECONDS = 1200


def first_page(image: str, build: list[str] | None = None) -> float:
    """Seconds; build: options of a build before `up`."""
    variables = {"IMAGE": image, "BASE_IMAGE": BASE_IMAGE, "PORT": "127.0.0.1:0"}
    if CA_BUNDLE.is_file():
        variables["CA_BUNDLE"] = str(CA_BUNDLE)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "docker-flask")
        begun = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", clone], check=True)
        project = Project(clone, variables)
        try:
            if build is not None:
                project.run("build", *build, seconds=BUILD_SECONDS)
            project.run("up", "--detach", seconds=BUILD_SECONDS)
            port = project.port("web", 80)
            wait_for(lambda: page(port), 60, "the first page")
            return time.monotonic() - begun
        finally:
            project.remove()


def page(port: int) -> bool:
    """Whether there is a page."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


def not_built(*options: str) -> float:
    """Seconds if the image must be built first."""
    image = f"{IMAGE}:first-page"
    try:
        return first_page(image, [*options])
    finally:
        docker_client("rmi", "--force", image)


def main() -> None:
    """Print the table."""
    print("| from `git clone` to the first page | median | range |\n|---|---|---|")
    rows: list[tuple[str, Callable[[], float], int]] = [
        ("the image is not built, nor its layers", lambda: not_built("--no-cache"), 1),
        ("the image is not built, its layers are in the cache", not_built, TRIES),
        ("the image is built", lambda: first_page(IMAGE), TRIES),
    ]
    for what, measure, tries in rows:
        found = [measure() for _ in range(tries)]
        middle, low, high = statistics.median(found), min(found), max(found)
        print(f"| {what} | {middle:.1f} s | {low:.1f} - {high:.1f} s, n = {tries} |", flush=True)


if __name__ == "__main__":
    main()
