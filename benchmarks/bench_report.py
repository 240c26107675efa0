"""The report of `make bench`: tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import spread
from benchmarks.contestants import BARE_PAIR, LOADS, Contestant, versions
from benchmarks.measure import CPU, CPUS, MEMORY_LIMIT, Sample

# Each table's heading.
HEADINGS = {
    "hello": "Hello, 64 kept connections, as fast as possible",
    "latency 500": "Hello at 500 requests/s",
    "latency 2000": "Hello at 2,000 requests/s",
    "json": "JSON, 64 connections",
    "template": "A template with a loop of 50, 64 connections",
    "megabyte": "A response of 1 MB, 16 connections",
    "post": "A POST of 64 KB, 64 connections",
    "connections": "Hello on 1 to 4,096 connections: requests/s",
    **{f"waits {load}": f"A view that waits: {load} connections" for load in LOADS},
    "static": "A static file of 10 KB, 64 connections",
    "page": "A page that everybody may keep for a minute, 64 connections",
    "file": "`send_file` of 100 MB, 8 connections",
    "memory": "Four workers that import 60 MB each, after some requests",
    "idle": "Idle for a minute",
    "size": "Size of the image",
}
INTRODUCTION = f"""
Every contestant is a container with `--cpus {CPUS} -m {MEMORY_LIMIT}`, started for each
measurement. Contestants take turns: a round measures each once. The load comes from the same
machine, inside the container's network, and shares the CPUs with the contestant. A cell has the
median of the rounds, and the least and the greatest. CPU time is that of the container's cgroup.
PSS counts a page that several processes share once. Errors are responses that were not 2xx, and
failures of sockets; requests/s and CPU/request count good responses only.
"""

# The samples of each table and contestant.
Tables = dict[str, dict[str, list[Sample]]]


def write(out: Path | None, about: str, tables: Tables, images: dict[Contestant, str]) -> None:
    """Print the report, and write it into a file if there is one."""
    lines = ["# The benchmark", "", f"By `make bench`. {about}", INTRODUCTION]
    for table, heading in HEADINGS.items():
        if table in tables:
            lines += [f"## {heading}", "", *table_lines(tables[table]), ""]
            lines += against_pair(tables[table])
    lines += ["## Who took part", "", "| | how | versions |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.how} | {versions(image)} |" for one, image in images.items()]
    print("\n".join(lines))
    if out:
        out.write_text("\n".join(lines) + "\n")


def table_lines(rows: dict[str, list[Sample]]) -> Iterator[str]:
    """One table: contestants, and the columns of which any of them has a number."""
    columns = list(dict.fromkeys(column for samples in rows.values() for column in samples[0]))
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, samples in rows.items():
        found = ([one[column] for one in samples if column in one] for column in columns)
        yield f"| {name} | {' | '.join(spread(values) if values else '' for values in found)} |"


def against_pair(rows: dict[str, list[Sample]]) -> Iterator[str]:
    """The CPU time of each contestant as a multiple of that of the bare nginx and uWSGI.

    The lower quartile: what else the machine does can only add to a number.
    """
    used = {name: [one[CPU] for one in samples if CPU in one] for name, samples in rows.items()}
    least = {
        name: statistics.quantiles(values, method="inclusive")[0] if values[1:] else values[0]
        for name, values in used.items()
        if values
    }
    if pair := least.get(BARE_PAIR):
        words = ", ".join(f"{name} {value / pair:.2f}" for name, value in least.items())
        yield f"CPU/request against that of `{BARE_PAIR}` (lower quartiles): {words}."
        yield ""
