"""Writes what `make bench` found: REPORT.md, its plots, and results.json, from which both follow.

python -m benchmarks.bench_report      # writes the report from results.json
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.measure import CPU, ERRORS, MEMORY, P99, RATE, SPEED, Sample

HERE = Path(__file__).parent
OURS, LOOP = "ours", "limit: Flask in a loop"
NGINX, NGINX_WITH_LOG = "limit: nginx alone", "limit: nginx with a log"
TEAL, GREY, RED = "#0f766e", "#a3a3a3", "#b91c1c"
ADDED = "MB on top of the base"
# Columns of which more is better; of all others, less.
MORE = {RATE, SPEED}

# Each table's heading.
TABLES = {
    "hello": "1 Hello, 64 kept connections, as fast as possible",
    "latency 500": "1 Hello at 500 requests/s",
    "latency 2000": "1 Hello at 2,000 requests/s",
    "json": "3 JSON, 64 connections",
    "template": "3 A template with a loop of 50, 64 connections",
    "megabyte": "3 An answer of 1 MB, 16 connections",
    "post": "3 A POST of 64 KB, 64 connections",
    "connections": "3 Hello on 1 to 4,096 connections: requests/s",
    "block": "4 A view that waits for 50 ms, 256 connections, after three seconds of the same",
    "static": "5 A static file of 10 KB, 64 connections",
    "page": "6 A page that everybody may keep for a minute, 64 connections",
    "file": "7 `send_file` of 100 MB, 8 clients, one of them slow (20 MB/s)",
    "memory": "8 Four workers that import 60 MB each, after some requests",
    "start": "9 `docker run` to the first 200",
    "idle": "9 Idle for a minute",
    "size": "9 Size of the image",
}


# Tables of contestants of columns of medians.
Medians = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Target:
    """What this image should reach: in a table's column, a factor of a rival's number.

    rival: its name, or what is compared with in words where `of` computes the number; the best of
    the peers if there is none.
    """

    row: str
    what: str
    table: str
    column: str
    factor: float = 1.0
    contestant: str = OURS
    rival: str = ""
    of: Callable[[Medians], float | None] | None = None


def limit(medians: Medians) -> float | None:
    """What Flask and nginx cost alone, together."""
    hello = medians.get("hello", {})
    if LOOP in hello and NGINX in hello:
        return hello[LOOP][CPU] + hello[NGINX][CPU]
    return None


def own_peak(medians: Medians) -> float | None:
    """What this image reaches on the best number of connections."""
    mine = medians.get("connections", {}).get(OURS, {})
    return max((n for column, n in mine.items() if column != "errors in all"), default=None)


def best_python_server(medians: Medians) -> float | None:
    """The best of those that have no nginx."""
    rates = medians.get("static", {})
    names = ("gunicorn gevent", "gunicorn gthread", "granian", "waitress")
    return max((rates[name][RATE] for name in names if name in rates), default=None)


def soon_after_gunicorn(medians: Medians) -> float | None:
    """0.3 s after the first answer of plain Gunicorn."""
    start = medians.get("start", {}).get("gunicorn gthread")
    return start["s"] + 0.3 if start else None


def without_log_and_with(row: str, table: str, factor: float) -> list[Target]:
    """Like beside like: no log on either side, and the same log on both."""
    return [
        Target(
            *(row, "the same, no access log", table, RATE, factor),
            contestant="ours, no access log",
            rival=NGINX,
        ),
        Target(row, "the same, both with one", table, RATE, factor, rival=NGINX_WITH_LOG),
    ]


HELLO = [
    Target("1", "hello, requests/s", "hello", RATE),
    Target("1", "hello, CPU", "hello", CPU, rival="granian"),
    Target("1", "hello, p99", "hello", P99, 0.5, rival="granian"),
    Target("1", "hello, requests/s", "hello", RATE, 1.8, rival="gunicorn gevent"),
    Target("1", "hello, requests/s", "hello", RATE, 2.0, rival="gunicorn gthread"),
    Target("1", "hello, requests/s", "hello", RATE, 1.7, rival="tutorial"),
]
TARGETS = [
    *HELLO,
    # Gunicorn and Granian write no access log.
    *(
        replace(target, what=f"{target.what}, no access log", contestant="ours, no access log")
        for target in HELLO[:4]
    ),
    Target("2", "hello, CPU", "hello", CPU, 2.0, rival="Flask in a loop + nginx alone", of=limit),
    Target("3", "JSON, requests/s", "json", RATE),
    Target("3", "template, requests/s", "template", RATE),
    Target("3", "1 MB, requests/s", "megabyte", RATE),
    Target("3", "POST of 64 KB, requests/s", "post", RATE),
    *(
        Target("3", f"hello, connections: {count}, requests/s", "connections", count)
        for count in ("1", "16", "256", "1,024", "4,096")
    ),
    Target("3", "the same", "connections", "4,096", 0.85, rival="its own peak", of=own_peak),
    Target("4", "blocking view, requests/s", "block", RATE, rival="gunicorn gevent"),
    *(
        Target("4", f"the same, {name}", "block", RATE, contestant=name, rival="gunicorn gevent")
        for name in ("ours, gevent", "ours, gunicorn gevent")
    ),
    Target("5", "static file, requests/s", "static", RATE, 0.9, rival=NGINX),
    *without_log_and_with("5", "static", 0.9),
    Target("5", "the same", "static", RATE, 5.0, rival="best Python server", of=best_python_server),
    Target("6", "cacheable page, requests/s", "page", RATE, 0.8, rival=NGINX),
    *without_log_and_with("6", "page", 0.8),
    Target("6", "the same", "page", RATE, 4.0, rival="granian"),
    Target("7", "`send_file`, MB/s", "file", SPEED, 0.9, rival=NGINX),
    Target(
        *("7", "hello meanwhile, p99", "file", "hello meanwhile, p99 ms"),
        rival="50 ms",
        of=lambda medians: 50.0,
    ),
    Target("8", "memory", "memory", MEMORY, rival="gunicorn gthread"),
    Target(
        "8", "the same, preload", "memory", MEMORY, 0.5, "ours, preload", rival="gunicorn gthread"
    ),
    Target("9", "start", "start", "s", rival="plain Gunicorn + 0.3 s", of=soon_after_gunicorn),
    Target("9", "idle CPU", "idle", "CPU ms/s", rival="2 ms/s", of=lambda medians: 2.0),
    Target("9", "image size", "size", "MB", 0.2, rival="tutorial"),
]

Results = dict[str, Any]


def read(out: Path) -> Results:
    """What earlier runs found, by row."""
    path = out / "results.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": {}}


def write(out: Path, results: Results) -> None:
    """The report with its plots, and what both are made of."""
    (out / "plots").mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
    (out / "REPORT.md").write_text("\n".join(report(results, plot(out, results))) + "\n")


def tables_of(results: Results) -> dict[str, dict[str, list[Sample]]]:
    """The samples of each table and contestant, in the order of TABLES and CONTESTANTS."""
    found: dict[str, Any] = {}
    for row in results["rows"].values():
        found |= row["tables"]
    base, sizes = results["facts"]["base size"], results["facts"]["sizes"]
    found["size"] = {
        name: [{"MB": size / 1e6, ADDED: (size - base) / 1e6}] for name, size in sizes.items()
    }
    order = [contestant.name for contestant in CONTESTANTS]
    return {
        table: {name: found[table][name] for name in order if name in found[table]}
        for table in TABLES
        if table in found
    }


def spread(samples: list[Sample], column: str) -> tuple[float, float, float] | None:
    """Median, least and greatest of a column; None where it was not measured."""
    values = [sample[column] for sample in samples if column in sample]
    return (statistics.median(values), min(values), max(values)) if values else None


def medians_of(tables: dict[str, dict[str, list[Sample]]]) -> Medians:
    """The same as medians."""
    return {
        table: {
            name: {column: found[0] for column in samples[0] if (found := spread(samples, column))}
            for name, samples in rows.items()
        }
        for table, rows in tables.items()
    }


def report(results: Results, plots: list[str]) -> list[str]:
    """The lines of the Markdown text."""
    facts, tables = results["facts"], tables_of(results)
    lines = [
        "# The benchmark",
        "",
        f"By `make bench` on {facts['date']}: {facts['machine']}; base `{facts['base']}`, engine "
        f"{facts['engine']}, load generator {facts['generator']}.",
        "",
        f"Every contestant is a container with `--cpus {facts['cpus']} -m {facts['memory']}`, "
        "started anew for each measurement, and they take turns: a round measures each once. The "
        "load comes from this very machine, inside the container's network, so that it shares the "
        "CPUs with the contestant: the same for all, but no contestant has all of them. A cell has "
        "the median of the rounds, and the least and the greatest. CPU time is that of the "
        "container's cgroup; PSS counts a page that processes share once; errors are answers that "
        "were not 2xx, and failures of sockets, in the median; requests/s and CPU/request count "
        "good answers only.",
        "",
        "## What was to be reached",
        "",
        "| row | what | target | measured | compared with | |",
        "|---|---|---|---|---|---|",
        *(target_row(target, medians_of(tables)) for target in TARGETS),
        "",
        *(f"![{name}](plots/{name}.svg)\n" for name in plots),
        "## What was measured",
        "",
    ]
    for table, rows in tables.items():
        lines += [f"### {TABLES[table]}", "", *table_lines(rows), ""]
    lines += ["## Who took part", "", *contestant_lines(results), ""]
    left_out = results["left out"]
    if left_out:
        lines += ["Left out, because this image does not have what they need:", ""]
        lines += [*(f"- {name}: {reason}" for name, reason in left_out.items()), ""]
    lines += [
        "## The runs",
        "",
        "| row | rounds | seconds | load average before |",
        "|---" * 4 + "|",
    ]
    for name, row in sorted(results["rows"].items()):
        lines.append(f"| {name} | {row['rounds']} | {row['seconds']} | {row['load']:.1f} |")
    failures = [text for row in results["rows"].values() for text in row["failures"]]
    if failures:
        lines += ["", "Could not be measured:", ""]
        lines += [f"- {' '.join(text.split())}" for text in failures]
    tried = HERE / "TRIED.md"
    return [*lines, "", tried.read_text().rstrip()] if tried.exists() else lines


def target_row(target: Target, medians: Medians) -> str:
    """One line of the first table."""
    rows = medians.get(target.table, {})
    more = target.column in MORE or target.table == "connections"
    rival = target.rival or "best peer"
    if target.of:
        other = target.of(medians)
    elif target.rival:
        other = rows.get(target.rival, {}).get(target.column)
    else:
        rival, other = best_peer(rows, target.column, more)
    to = target.rival or "best peer"
    begin = f"| {target.row} | {target.what} | {'≥' if more else '≤'} {target.factor:g} x {to} |"
    mine = rows.get(target.contestant, {})
    if target.column not in mine or not other:
        return f"{begin} | | not measured |"
    ratio = mine[target.column] / other
    near = ratio / target.factor if more else target.factor / ratio if ratio else 1
    verdict = "reached" if near >= 1 else f"{near:.0%} of it"
    if mine.get(ERRORS):
        verdict += f", with {number(mine[ERRORS])} errors"
    numbers = f"{number(mine[target.column])} to {number(other)} ({rival})"
    return f"{begin} {ratio:.2f} x | {numbers} | {verdict} |"


def best_peer(
    rows: dict[str, dict[str, float]], column: str, more: bool
) -> tuple[str, float | None]:
    """The peer with the best median, of those that made no errors."""
    peers = {one.name for one in CONTESTANTS if one.kind == "peer"}
    numbers = {
        name: columns[column]
        for name, columns in rows.items()
        if name in peers and column in columns and not columns.get(ERRORS)
    }
    if not numbers:
        return "best peer", None
    name = (max if more else min)(numbers, key=numbers.__getitem__)
    return name, numbers[name]


def table_lines(rows: dict[str, list[Sample]]) -> list[str]:
    """One table: contestants, and the columns of which any of them has a number."""
    columns = list(dict.fromkeys(column for samples in rows.values() for column in samples[0]))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, samples in rows.items():
        cells = [cell(spread(samples, column), column) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def cell(found: tuple[float, float, float] | None, column: str) -> str:
    """Median and spread."""
    if found is None:
        return ""
    middle, least, greatest = map(number, found)
    return middle if least == greatest else f"{middle} ({least} - {greatest})"


def number(value: float) -> str:
    """Three digits of it, or all before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def contestant_lines(results: Results) -> list[str]:
    """How each was run, and what its image is made of."""
    made_of = results["facts"]["versions"]
    return [
        "| | how | versions |",
        "|---|---|---|",
        *(
            f"| {one.name} | {one.how} | {made_of[one.name]} |"
            for one in CONTESTANTS
            if one.name in made_of
        ),
    ]


def plot(out: Path, results: Results) -> list[str]:
    """Draw what there are numbers for; returns the names of the pictures."""
    tables = tables_of(results)
    limits = limit(medians_of(tables))
    drawn = [
        bars(out, tables, "hello", RATE),
        bars(out, tables, "hello", CPU, [limits, 2 * limits] if limits else []),
        bars(out, tables, "latency 500", P99),
        lines_of_connections(out, tables),
        bars(out, tables, "memory", MEMORY),
    ]
    return [name for name in drawn if name]


def bars(
    out: Path,
    tables: dict[str, dict[str, list[Sample]]],
    table: str,
    column: str,
    marks: list[float] | None = None,
) -> str:
    """One bar for each contestant, with its spread; marks: lines across."""
    found = {
        name: values
        for name, samples in tables.get(table, {}).items()
        if (values := spread(samples, column)) and not (column == RATE and name.startswith("limit"))
    }
    if not found:
        return ""
    figure, axes = new_figure(1 + 0.3 * len(found))
    names = list(found)[::-1]
    middle, least, greatest = zip(*(found[name] for name in names), strict=True)
    axes.barh(
        names,
        middle,
        xerr=[
            [m - low for m, low in zip(middle, least, strict=True)],
            [high - m for m, high in zip(middle, greatest, strict=True)],
        ],
        color=[TEAL if name.startswith(OURS) else GREY for name in names],
        capsize=2,
    )
    for mark in marks or []:
        axes.axvline(mark, color=RED, linestyle="--", label=f"{mark:.0f}")
    if marks:
        axes.legend(title="the limits together,\nand twice that", loc="lower right")
    axes.set_title(TABLES[table])
    axes.set_xlabel(column)
    return save(figure, out, f"{table} {column.split()[0].split('/')[0]}")


def lines_of_connections(out: Path, tables: dict[str, dict[str, list[Sample]]]) -> str:
    """Requests per second over the number of connections."""
    if "connections" not in tables:
        return ""
    figure, axes = new_figure(5)
    for name, samples in tables["connections"].items():
        counts = {column: column.replace(",", "") for column in samples[0]}
        columns = [column for column, count in counts.items() if count.isdigit()]
        axes.plot(
            [int(counts[column]) for column in columns],
            [statistics.median(sample[column] for sample in samples) for column in columns],
            marker="o",
            label=name,
            linewidth=3 if name == OURS else 1.5,
            color=TEAL if name == OURS else None,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks([int(counts[column]) for column in columns], columns)
    axes.set_ylim(bottom=0)
    axes.set_title(TABLES["connections"])
    axes.set_xlabel("connections")
    axes.legend(fontsize="small")
    return save(figure, out, "connections")


def new_figure(height: float) -> tuple[Any, Any]:
    """An empty picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, figure.subplots()


def save(figure: Any, out: Path, name: str) -> str:
    """Write a picture, the same bytes for the same numbers; returns its name."""
    import matplotlib

    name = name.replace(" ", "-").lower()
    matplotlib.rcParams["svg.hashsalt"] = name
    figure.savefig(out / "plots" / f"{name}.svg", metadata={"Date": None})
    return name


if __name__ == "__main__":
    write(HERE, read(HERE))
