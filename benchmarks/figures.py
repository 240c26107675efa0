"""The figures that the README quotes, measured anew: `make figures` prints them as Markdown.

Size of the image, start to the first 200, idle stop, edit to served, lines of code by folder.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.harness import DEBUG, DEBUG_PORT, IMAGE, Engine, wait_for

ROOT = Path(__file__).parents[1]

TRIES = 10
APP = """from flask import Flask
app = Flask(__name__)
@app.route("/")
def hello():
    return "version {version}"
"""


def start_to_first_answer(engine: Engine) -> float:
    """Seconds from `docker run` to the first 200 of the sample application."""
    begun = time.monotonic()
    engine.run().wait_until_serving()
    return time.monotonic() - begun


def idle_stop(engine: Engine) -> float:
    """Seconds that `docker stop` takes on an idle container; raises when it was not clean."""
    container = engine.run()
    container.wait_until_serving()
    code, took = container.stop()
    if code:
        raise RuntimeError(f"docker stop ended with exit code {code}")
    return took


def edits(engine: Engine) -> list[float]:
    """Seconds from saving an edit to its answer, in debug mode."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app.py")
        Path(folder).chmod(0o755)
        app.write_text(APP.format(version=0))
        container = engine.run(DEBUG, app=folder)
        container.wait_until_serving(inside=DEBUG_PORT)
        for version in range(1, TRIES + 1):
            time.sleep(0.7)  # so that edits do not fall into step with the reloader
            begun = time.monotonic()
            app.write_text(APP.format(version=version))
            text = f"version {version}"
            wait_for(lambda: container.get(inside=DEBUG_PORT).text == text, 10, text, every=0.02)  # noqa: B023
            times.append(time.monotonic() - begun)
        engine.remove_containers()
    return times


def sizes(engine: Engine, base: str) -> tuple[float, float]:
    """Size of the image and what it adds to its base, in MB."""
    whole = engine.client.images.get(IMAGE).attrs["Size"] / 1e6
    return whole, whole - engine.client.images.get(base).attrs["Size"] / 1e6


def lines_of_code() -> Counter[str]:
    """Lines of the files that git tracks, by top-level folder or file."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    lines: Counter[str] = Counter()
    for name in names:
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            lines[name.split("/")[0] + ("/" if "/" in name else "")] += data.count(b"\n")
    return lines


def repeat(what: Callable[[Engine], float], engine: Engine) -> list[float]:
    """Ten measurements, each on a container of its own."""
    times = []
    for _ in range(TRIES):
        times.append(what(engine))
        engine.remove_containers()
    return times


def row(what: str, times: list[float]) -> str:
    """One line of the table: median and range."""
    median = statistics.median(times)
    return f"| {what} | {median:.2f} s | {min(times):.2f} - {max(times):.2f} s, n = {len(times)} |"


def main() -> None:
    """Print the report."""
    base = os.environ.get("BASE_IMAGE", "ubuntu:24.04")
    engine = Engine("figures")
    try:
        whole, added = sizes(engine, base)
        print("# Figures\n")
        print(f"By `make figures`, on {platform.machine()} with {os.cpu_count()} CPUs;")
        print(f"base image `{base}`, engine {engine.client.version()['Version']}.\n")
        print("| what | median | range |\n|---|---|---|")
        print(f"| image size | {whole:.0f} MB | {added:.0f} MB on top of the base |")
        print(row("`docker run` to first 200", repeat(start_to_first_answer, engine)))
        print(row("idle `docker stop`, exit code 0", repeat(idle_stop, engine)))
        print(row("edit in debug mode to served", edits(engine)))
    finally:
        engine.remove_containers()
    print("\n| lines | where |\n|---|---|")
    for name, count in lines_of_code().most_common():
        print(f"| {count} | `{name}` |")


if __name__ == "__main__":
    main()
