"""The benchmark: the same work on this image and on its peers, in one run: `make bench`.

Contestants take turns: one round measures each of them once, in a container of its own, before
the next round begins. The report has medians and the spread over the rounds.

    python -m benchmarks.bench --rounds 5 --seconds 5 --rows hello memory --only ours granian
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import common
from benchmarks.bench_report import Tables, write
from benchmarks.contestants import CONTESTANTS, LOADS, Contestant
from benchmarks.measure import MEMORY, RATE, Sample, Serving, prepare, rest, serving
from benchmarks.waits import burst

LATENCY_RATES = (500, 2000)
CONNECTIONS = (1, 16, 256, 1024, 4096)
IDLE_SECONDS = 60  # two of our image's health checks

# What one contestant gives in one row and round: a sample for each table.
Samples = dict[str, Sample]


def latency(server: Serving, seconds: float) -> Samples:
    """Hello at equal loads."""
    return {f"latency {rate}": server.load_at(rate, "/", seconds) for rate in LATENCY_RATES}


def answers(server: Serving, seconds: float) -> Samples:
    """Other kinds of responses."""
    return {
        "json": server.load("/json", seconds),
        "template": server.load("/template", seconds),
        "megabyte": server.load("/megabyte", seconds, connections=16),
        "post": server.load("/post", seconds, post_bytes=65536),
    }


def connections(server: Serving, seconds: float) -> Samples:
    """Hello on few and many connections."""
    found = {f"{count:,}": server.load("/", seconds, count) for count in CONNECTIONS}
    errors = sum(sample["errors"] for sample in found.values())
    rates = {count: sample[RATE] for count, sample in found.items()}
    return {"connections": {**rates, "errors in all": errors}}


def waits(load: str, server: Serving, _: float) -> Samples:
    """Views that wait, more often at once than there are workers."""
    return {f"waits {load}": burst(server, *LOADS[load])}


def file(server: Serving, seconds: float) -> Samples:
    """Large files."""
    return {"file": server.load("/file", seconds, connections=8)}


def memory(server: Serving, seconds: float) -> Samples:
    """After some work on all workers."""
    server.load("/", seconds)
    rest(server.container)
    return {"memory": {MEMORY: server.cgroup.memory()}}


def idle(server: Serving, _: float) -> Samples:
    """What doing nothing costs, health checks included."""
    before = server.cgroup.cpu()
    time.sleep(IDLE_SECONDS)
    used = (server.cgroup.cpu() - before) / IDLE_SECONDS
    return {"idle": {"CPU ms/s": used * 1e3, MEMORY: server.cgroup.memory()}}


def load(table: str, path: str, server: Serving, seconds: float) -> Samples:
    """One path on 64 connections."""
    return {table: server.load(path, seconds)}


class Row(NamedTuple):
    """Something that is measured on a container of its own.

    heavy: with four workers that import 60 MB; at_once: on all contestants at the same time.
    """

    measure: Callable[[Serving, float], Samples]
    heavy: bool = False
    at_once: bool = False


ROWS = {
    "hello": Row(partial(load, "hello", "/")),
    "latency": Row(latency),
    "answers": Row(answers),
    "connections": Row(connections),
    **{f"waits {load}": Row(partial(waits, load)) for load in LOADS},
    "static": Row(partial(load, "static", "/static/10-kb.txt")),
    "page": Row(partial(load, "page", "/page")),
    "file": Row(file),
    "memory": Row(memory, heavy=True),
    "idle": Row(idle, at_once=True),
}


def measure(row: Row, image: str, app: Path, seconds: float, one: Contestant) -> Samples | str:
    """Measure one contestant once; what went wrong, if it could not be done."""
    try:
        with serving(one, image, app, row.heavy) as container:
            return row.measure(container, seconds)
    except Exception as error:  # is reported, and must not cost the rest of a long run
        return f"{type(error).__name__}: {error}"


def run(name: str, chosen: dict[Contestant, str], app: Path, options: argparse.Namespace) -> Tables:
    """All rounds of a row; chosen: the images of the contestants."""
    row = ROWS[name]
    group = [
        one
        for one in chosen
        if name in (one.rows or [name]) and (one.four is not None or not row.heavy)
    ]
    tables: Tables = {}

    def once(one: Contestant) -> Samples | str:
        return measure(row, chosen[one], app, options.seconds, one)

    for number in range(1, options.rounds + 1):
        with ThreadPoolExecutor(len(group) if row.at_once and group else 1) as pool:
            for one, samples in zip(group, pool.map(once, group), strict=True):
                common.report(f"{name}, round {number}, {one.name}: {samples}")
                for table, sample in samples.items() if isinstance(samples, dict) else []:
                    tables.setdefault(table, {}).setdefault(one.name, []).append(sample)
    return tables


def parse() -> argparse.Namespace:
    """The command line."""
    parser = common.parser(__doc__, rounds=5, seconds=5)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    names = [one.name for one in CONTESTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="contestants")
    parser.add_argument("--out", type=Path, help="a file, such as benchmarks/REPORT.md")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the report."""
    options = parse()
    if not shutil.which("wrk"):
        sys.exit("the benchmark needs the load generator wrk: apt-get install wrk, as root")
    # Thousands of connections take as many descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = {one: one.image() for one in CONTESTANTS if one.name in options.only}
    tables: Tables = {}
    with common.engine("bench") as engine, common.folder() as folder:
        app = prepare(folder)
        for name in options.rows:
            tables |= run(name, chosen, app, options)
        images = {name: engine.client.images.get(name) for name in chosen.values()}
        tables["size"] = {
            one.name: [{"MB": images[image].attrs["Size"] / 1e6}] for one, image in chosen.items()
        }
        about = (
            f"{common.about(engine)} {options.rounds} rounds of {options.seconds} s; the load "
            f"average was {os.getloadavg()[2]:.1f} in the last 15 minutes."
        )
    write(options.out, about, tables, chosen)


if __name__ == "__main__":
    main()
