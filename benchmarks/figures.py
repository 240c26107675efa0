"""Measure the image: size, start, stop, reload, an edit in debug mode, memory and CPU time.

    python -m benchmarks.figures [--beside IMAGE] [--rounds 3]

With another image beside it, both are measured in turns, and each row has the ratio of the medians.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import common
from benchmarks.contestants import Contestant
from benchmarks.measure import CPU, MEMORY, prepare, serving
from tests.support.harness import BASE_IMAGE, DEBUG, DEBUG_PORT, IMAGE, Engine, wait_for

APP = """from flask import Flask
app = Flask(__name__)
@app.route("/")
def hello():
    return "version {version}"
"""
START, STOP = "`docker run` to first 200, s", "idle `docker stop`, exit code 0, s"
RELOAD, EDIT = "`docker-flask reload`, s", "edit in debug mode to served, s"
HELLO, USED = "CPU time of a hello, µs", "memory after hellos (PSS), MB"
STATIC = "CPU time of a static file without access log, µs"
PAGE = "CPU time of a cached page without access log, µs"
# Measures an image in a container of its own: values of some rows.
Measure = Callable[[Engine, str, Path, float], dict[str, float]]


def start_and_stop(engine: Engine, image: str, *_: object) -> dict[str, float]:
    """Start and stop the sample application without any load."""
    begun = time.monotonic()
    container = engine.run(image=image)
    container.wait_until_serving()
    started = time.monotonic() - begun
    code, stopped = container.stop()
    if code:
        raise RuntimeError(f"docker stop ended with exit code {code}")
    return {START: started, STOP: stopped}


def reload(engine: Engine, image: str, *_: object) -> dict[str, float]:
    """Reload the sample application, until the new workers serve."""
    container = engine.run(image=image)
    container.wait_until_serving()
    begun = time.monotonic()
    code, output = container.execute("docker-flask", "reload")
    if code:
        raise RuntimeError(output)
    return {RELOAD: time.monotonic() - begun}


def edit(engine: Engine, image: str, *_: object) -> dict[str, float]:
    """Save an edit in debug mode, and wait for its response."""
    with common.folder() as folder:
        app = folder / "app.py"
        app.write_text(APP.format(version=0))
        container = engine.run(DEBUG, app=folder, image=image)
        container.wait_until_serving(inside=DEBUG_PORT)
        time.sleep(0.7)  # so that edits do not fall into step with the reloader
        begun = time.monotonic()
        app.write_text(APP.format(version=1))

        def served() -> bool:
            return container.get(inside=DEBUG_PORT).text == "version 1"

        wait_for(served, 10, "the edit", every=0.02)
        took = time.monotonic() - begun
        engine.remove_containers()
    return {EDIT: took}


def hello(_: Engine, image: str, app: Path, seconds: float) -> dict[str, float]:
    """CPU time of all processes of the container, and its memory."""
    contestant = Contestant("figures", "")
    with serving(contestant, image, app, heavy=False) as served:
        found = served.load("/", seconds)
    return {HELLO: found[CPU], USED: found[MEMORY]}


def files(_: Engine, image: str, app: Path, seconds: float) -> dict[str, float]:
    """What nginx answers alone."""
    env = {"ACCESS_LOG": "0", "RESPONSE_CACHE": "64m"}
    contestant = Contestant("figures", "", options={"env": env})
    with serving(contestant, image, app, heavy=False) as served:
        static, page = (served.load(path, seconds) for path in ("/static/10-kb.txt", "/page"))
    return {STATIC: static[CPU], PAGE: page[CPU]}


MEASURES: tuple[Measure, ...] = (start_and_stop, reload, edit, hello, files)


def main() -> None:
    """Print the table."""
    parser = common.parser(__doc__, rounds=10, seconds=2)
    parser.add_argument("--beside", metavar="IMAGE", help="another image, measured in turns")
    options = parser.parse_args()
    images = [IMAGE, *([options.beside] if options.beside else [])]
    names = images if options.beside else ["median (range)"]

    def row(what: str, found: list[list[float]]) -> None:
        cells = [common.spread(values) for values in found]
        if options.beside:
            ours, theirs = map(statistics.median, found)
            cells.append(f"{ours / theirs:.2f}")
        common.print_row(what, *cells)

    with common.engine("figures") as engine, common.folder() as folder:
        app = prepare(folder)
        print(f"{common.about(engine)} {options.rounds} rounds.")
        common.print_head("what", *names, *(["ratio of medians"] if options.beside else []))
        base, *sizes = (
            engine.client.images.get(image).attrs["Size"] / 1e6 for image in (BASE_IMAGE, *images)
        )
        row("image size, MB", [[size] for size in sizes])
        row("of it above the base, MB", [[size - base] for size in sizes])
        for measure in MEASURES:
            found: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in images])
            for _ in range(options.rounds):
                for number, image in enumerate(images):
                    for what, value in measure(engine, image, app, options.seconds).items():
                        found[what][number].append(value)
                    engine.remove_containers()
            for what, values in found.items():
                row(what, values)


if __name__ == "__main__":
    main()
