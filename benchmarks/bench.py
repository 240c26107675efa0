"""The benchmark: the same work on this image and on its peers, in one run: `make bench`.

Contestants take turns: one round measures each of them once, in a container of its own, before
the next round begins. The report has medians and the spread over the rounds.

    python -m benchmarks.bench --rounds 5 --seconds 5 --rows hello memory --only ours granian

A run replaces what an earlier one found in the same rows, and keeps the other rows.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import bench_report
from benchmarks.contestants import CONTESTANTS, Contestant, versions
from benchmarks.measure import (
    CPUS,
    FILE_BYTES,
    MEMORY,
    MEMORY_LIMIT,
    RATE,
    Sample,
    Serving,
    serving,
)
from tests.support.harness import BASE_IMAGE, Engine

ROOT = Path(__file__).parents[1]

APP = ROOT / "benchmarks/app"
LATENCY_RATES = (500, 2000)
CONNECTIONS = (1, 16, 256, 1024, 4096)
IDLE_SECONDS = 60  # two of our image's health checks
GROW_SECONDS = 3  # in which a server adds threads or workers, if it does

# What one contestant gives in one row and round: a sample for each table.
Samples = dict[str, Sample]


def hello(server: Serving, seconds: float) -> Samples:
    """The least that Flask can do, as fast as it can."""
    return {"hello": server.load("/", seconds)}


def latency(server: Serving, seconds: float) -> Samples:
    """The same at equal loads."""
    return {f"latency {rate}": server.load_at(rate, "/", seconds) for rate in LATENCY_RATES}


def answers(server: Serving, seconds: float) -> Samples:
    """Other kinds of answers."""
    return {
        "json": server.load("/json", seconds),
        "template": server.load("/template", seconds),
        "megabyte": server.load("/megabyte", seconds, connections=16),
        "post": server.load("/post", seconds, post_bytes=65536),
    }


def connections(server: Serving, seconds: float) -> Samples:
    """Hello on few and many connections."""
    sample, errors = {}, 0.0
    for count in CONNECTIONS:
        found = server.load("/", seconds, count)
        sample[f"{count:,}"] = found[RATE]
        errors += found["errors"]
    return {"connections": {**sample, "errors in all": errors}}


def block(server: Serving, seconds: float) -> Samples:
    """A view that waits, more often at once than there are workers, which have time to grow."""
    server.load("/block", GROW_SECONDS, connections=256)
    return {"block": server.load("/block", seconds, connections=256)}


def static(server: Serving, seconds: float) -> Samples:
    """A static file."""
    return {"static": server.load("/static/10-kb.txt", seconds)}


def page(server: Serving, seconds: float) -> Samples:
    """A page that any cache may keep."""
    return {"page": server.load("/page", seconds)}


def file(server: Serving, _: float) -> Samples:
    """Large files, one of them to a slow client."""
    return {"file": server.download("/file", clients=8)}


def memory(server: Serving, seconds: float) -> Samples:
    """After some work on all workers."""
    server.load("/", seconds)
    server.rest()
    return {"memory": {MEMORY: server.cgroup.memory()}}


def start(server: Serving, _: float) -> Samples:
    """From `docker run` to the first 200."""
    return {"start": {"s": server.started_in}}


def idle(server: Serving, _: float) -> Samples:
    """What doing nothing costs, health checks included."""
    before = server.cgroup.cpu()
    time.sleep(IDLE_SECONDS)
    used = (server.cgroup.cpu() - before) / IDLE_SECONDS
    return {"idle": {"CPU ms/s": used * 1e3, MEMORY: server.cgroup.memory()}}


@dataclass(frozen=True)
class Row:
    """Something that is measured on a container of its own.

    heavy: with four workers that import 60 MB; at_once: on all contestants at the same time.
    """

    name: str
    measure: Callable[[Serving, float], Samples]
    heavy: bool = False
    at_once: bool = False


ROWS = [
    Row("1 hello", hello),
    Row("1 latency", latency),
    Row("3 answers", answers),
    Row("3 connections", connections),
    Row("4 block", block),
    Row("5 static", static),
    Row("6 page", page),
    Row("7 file", file),
    Row("8 memory", memory, heavy=True),
    Row("9 start", start),
    Row("9 idle", idle, at_once=True),
]


def prepare(folder: Path) -> Path:
    """The application with its large files, readable for any user."""
    app = folder / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    (app / "static").mkdir()
    (app / "static/10-kb.txt").write_text("0123456789abcde\n" * 640)
    # For nginx alone.
    script = "from app import app; print(app.test_client().get('/page').text, end='')"
    page = subprocess.run(
        [sys.executable, "-c", script], cwd=app, stdout=subprocess.PIPE, check=True
    )
    (app / "page").write_bytes(page.stdout)
    shutil.rmtree(app / "__pycache__", ignore_errors=True)
    with (app / "100-mb.bin").open("wb") as out:
        for _ in range(100):
            out.write(os.urandom(FILE_BYTES // 100))
    folder.chmod(0o755)
    return app


def one(contestant: Contestant, row: Row, image: str, app: Path, seconds: float) -> Samples | str:
    """Measure one contestant once; what went wrong, if it could not be done."""
    try:
        with serving(contestant, image, app, row.heavy) as container:
            return row.measure(container, seconds)
    except Exception as error:  # is reported, and must not cost the rest of a long run
        return f"{type(error).__name__}: {error}"


def run(row: Row, images: dict[str, str], app: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """All rounds of a row, as the report wants them; images: of those who take part."""
    group = [
        one
        for one in CONTESTANTS
        if one.name in images
        and row.name in (one.rows or [row.name])
        and (one.four is not None or not row.heavy)
    ]
    tables: dict[str, dict[str, list[Sample]]] = {}
    failures: list[str] = []
    load = os.getloadavg()[0]
    for number in range(1, rounds + 1):
        with ThreadPoolExecutor(len(group) if row.at_once else 1) as pool:
            measured = pool.map(lambda each: one(each, row, images[each.name], app, seconds), group)
            for contestant, samples in zip(group, measured, strict=True):
                print(f"{row.name}, round {number}, {contestant.name}: {samples}", flush=True)
                if isinstance(samples, str):
                    failures.append(f"{contestant.name}, round {number}: {samples}")
                    continue
                for table, sample in samples.items():
                    tables.setdefault(table, {}).setdefault(contestant.name, []).append(sample)
    return {
        "rounds": rounds,
        "seconds": seconds,
        "load": load,
        "failures": failures,
        "tables": tables,
    }


def facts(engine: Engine, images: dict[str, str]) -> dict[str, Any]:
    """Where this was measured, and with what."""
    sizes = {name: engine.client.images.get(image).attrs["Size"] for name, image in images.items()}
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} CPUs ({model[1] if model else platform.machine()}), "
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GB, "
        f"Linux {platform.release()}",
        "base": BASE_IMAGE,
        "base size": engine.client.images.get(BASE_IMAGE).attrs["Size"],
        "engine": engine.client.version()["Version"],
        "generator": " ".join(wrk.split()[:2]),
        "cpus": CPUS,
        "memory": MEMORY_LIMIT,
        "sizes": sizes,
        "versions": {name: versions(image) for name, image in images.items()},
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=sorted({word for row in ROWS for word in row.name.split()}),
        help="only these, by number or name",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[contestant.name for contestant in CONTESTANTS],
        help="only these contestants",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks")
    return parser.parse_args()


def main() -> None:
    """Measure, and write the report after each row, so that a run may be broken off."""
    options = parse()
    if not shutil.which("wrk"):
        sys.exit("the benchmark needs the load generator wrk: apt-get install wrk, as root")
    # Ended from outside, it removes its containers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Thousands of connections take as many descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = [one for one in CONTESTANTS if one.name in (options.only or [one.name])]
    left_out = {one.name: reason for one in chosen if (reason := one.missing())}
    images = {one.name: one.image() for one in chosen if one.name not in left_out}
    engine = Engine("bench")
    results = bench_report.read(options.out)
    now, before = facts(engine, images), results.get("facts", {})
    for key in ("sizes", "versions"):
        now[key] = before.get(key, {}) | now[key]
    results["facts"] = now
    others = {name: why for name, why in results.get("left out", {}).items() if name not in images}
    results["left out"] = others | left_out
    with tempfile.TemporaryDirectory() as folder:
        app = prepare(Path(folder))
        for row in ROWS:
            if set(row.name.split()) & set(options.rows or row.name.split()):
                found = run(row, images, app, options.rounds, options.seconds)
                results["rows"][row.name] = found
                bench_report.write(options.out, results)


if __name__ == "__main__":
    main()
