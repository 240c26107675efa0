"""Measure the image: its size, how long it takes to start, to stop and to serve an edit, and the
processor time of a small answer.

    python -m benchmarks.figures [--beside IMAGE]

With another image beside it, both are measured in turns, and each row has the ratio of the two.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.measure import CPU, serving
from tests.support.harness import DEBUG, DEBUG_PORT, IMAGE, Engine, wait_for

ROOT = Path(__file__).parents[1]
TRIES = 10
HELLO_SECONDS = 2
APP = """from flask import Flask
app = Flask(__name__)
@app.route("/")
def hello():
    return "version {version}"
"""
# Measures an image; some results are several values.
Measure = Callable[[Engine, str], list[float]]


def start_to_first_answer(engine: Engine, image: str) -> list[float]:
    """Seconds from `docker run` to the first 200 of the sample application."""
    begun = time.monotonic()
    engine.run(image=image).wait_until_serving()
    return [time.monotonic() - begun]


def idle_stop(engine: Engine, image: str) -> list[float]:
    """Seconds that `docker stop` takes on an idle container; raises when it was not clean."""
    container = engine.run(image=image)
    container.wait_until_serving()
    code, took = container.stop()
    if code:
        raise RuntimeError(f"docker stop ended with exit code {code}")
    return [took]


def edit(engine: Engine, image: str) -> list[float]:
    """Seconds from saving an edit to its answer, in debug mode."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app.py")
        Path(folder).chmod(0o755)
        app.write_text(APP.format(version=0))
        container = engine.run(DEBUG, app=folder, image=image)
        container.wait_until_serving(inside=DEBUG_PORT)
        time.sleep(0.7)  # so that edits do not fall into step with the reloader
        begun = time.monotonic()
        app.write_text(APP.format(version=1))
        wait_for(
            lambda: container.get(inside=DEBUG_PORT).text == "version 1",
            10,
            "the edit",
            every=0.02,
        )
        took = time.monotonic() - begun
        engine.remove_containers()
    return [took]


def cpu_of_hello(_: Engine, image: str) -> list[float]:
    """Processor time of a small answer in microseconds: of all processes of the container."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Path(folder, "app.py").write_text(APP.format(version=0))
        contestant = Contestant("figures", "", kind="ours", options={})
        with serving(contestant, image, Path(folder), heavy=False) as served:
            return [served.load("/", HELLO_SECONDS)[CPU]]


ROWS: list[tuple[str, str, Measure]] = [
    ("`docker run` to first 200", "s", start_to_first_answer),
    ("idle `docker stop`, exit code 0", "s", idle_stop),
    ("edit in debug mode to served", "s", edit),
    ("processor time of a hello, all processes", "µs", cpu_of_hello),
]


def lines_of_code() -> Counter[str]:
    """Lines of the files that git tracks, by room; pictures, locks and results are left out."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    lines: Counter[str] = Counter()
    for name in names:
        path = Path(name)
        if path.suffix in (".png", ".svg", ".json", ".lock"):
            continue
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            depth = 2 if path.parts[0] in ("docker_flask", "tests") else 1
            lines["/".join(path.parent.parts[:depth]) + "/" if path.parent.name else name] += (
                data.count(b"\n")
            )
    return lines


def in_turns(measure: Measure, engine: Engine, images: list[str]) -> list[list[float]]:
    """Ten measurements of each image, in turns, each on a container of its own."""
    found: list[list[float]] = [[] for _ in images]
    for _ in range(TRIES):
        for values, image in zip(found, images, strict=True):
            values += measure(engine, image)
            engine.remove_containers()
    return found


def cells(values: list[float], unit: str) -> str:
    """Median and range, for a row of the table."""
    digits = 0 if unit == "µs" else 2
    median, low, high = (
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{median} {unit} | {low} - {high} {unit}, n = {len(values)}"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", metavar="IMAGE", help="another image, measured in turns")
    beside = parser.parse_args().beside
    images = [IMAGE, *([beside] if beside else [])]
    base = os.environ.get("BASE_IMAGE", "ubuntu:24.04")
    engine = Engine("figures")
    size = {name: engine.client.images.get(name).attrs["Size"] / 1e6 for name in (*images, base)}
    print("# Figures\n")
    print(f"By `make figures`, on {platform.machine()} with {os.cpu_count()} CPUs;")
    print(f"base image `{base}`, engine {engine.client.version()['Version']}.\n")
    more = f" {beside} | range | ratio of medians |" if beside else ""
    print(f"| what | median | range |{more}\n|---|---|---|{'---|---|---|' if beside else ''}")
    row = (
        f"| image size | {size[IMAGE]:.0f} MB | {size[IMAGE] - size[base]:.0f} MB above its base |"
    )
    print(
        row + (f" {size[beside]:.0f} MB | | {size[IMAGE] / size[beside]:.2f} |" if beside else "")
    )
    try:
        for what, unit, measure in ROWS:
            found = in_turns(measure, engine, images)
            row = " | ".join(cells(values, unit) for values in found)
            if beside:
                ours, theirs = map(statistics.median, found)
                row += f" | {ours / theirs:.2f}"
            print(f"| {what} | {row} |", flush=True)
    finally:
        engine.remove_containers()
    print("\n| lines | where |\n|---|---|")
    for name, count in lines_of_code().most_common():
        print(f"| {count} | `{name}` |")


if __name__ == "__main__":
    main()
