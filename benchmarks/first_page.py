"""Measure the time from `git clone` to the first page with Compose, of the last commit here.

    python -m benchmarks.first_page

The clone is from this machine's disk. The base image is there, and so are the packages that pip has
downloaded for earlier builds.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import common
from tests.support.compose import Project
from tests.support.harness import (
    BASE_IMAGE,
    CA_BUNDLE,
    IMAGE,
    ROOT,
    docker_client,
    wait_for,
)

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
            url = f"http://127.0.0.1:{port}/"
            wait_for(lambda: common.serves(url), 60, "the first page")
            return time.monotonic() - begun
        finally:
            project.remove()


def not_built(*options: str) -> float:
    """Seconds if the image must be built first."""
    image = f"{IMAGE}:first-page"
    try:
        return first_page(image, [*options])
    finally:
        docker_client("rmi", "--force", image)


# What there is, and whether one measurement is enough.
ROWS: list[tuple[str, Callable[[], float], bool]] = [
    ("the image is built", lambda: first_page(IMAGE), False),
    ("the image is not built, its layers are in the cache", not_built, False),
    ("the image is not built, nor its layers", lambda: not_built("--no-cache"), True),
]


def main() -> None:
    """Print the table."""
    options = common.parser(__doc__, rounds=5, rows=len(ROWS)).parse_args()
    common.print_head("from `git clone` to the first page", "median (range)")
    for what, measure, once in ROWS[: options.rows]:
        seconds = [measure() for _ in range(1 if once else options.rounds)]
        common.print_row(what, common.spread(seconds, "s"))


if __name__ == "__main__":
    main()
