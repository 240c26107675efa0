"""Does the same things to a container again and again, and counts: `make soak`.

Writes a Markdown report: for each thing that is done, how often, under how many requests, what was
lost, and the bound below which the true share lies with 95 % confidence; then a long mixed load,
with memory and latency over time as a plot.

    python -m benchmarks.soak --tries 100 --minutes 60 --out benchmarks/reports
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.harness import Engine, wait_for
from tests.support.loss import Service, written_memory
from tests.support.loss_checker.record import Verdicts, upper_bound
from tests.support.loss_checker.result import Result

ROOT = Path(__file__).parents[1]

FAST = {"mode": "new", "rate": 4000}
NEW = {"mode": "new", "rate": 1000}
STEADY: dict[str, Any] = {"mode": "new", "rate": 300}
KEPT = {"mode": "keepalive", "connections": 32}
# Tries on one container, before the next: a container gives up after five deaths in a minute.
DEATHS_A_CONTAINER = 5
MOST_TURNED_AWAY = 16  # clients that one stop may answer with 503
NOT_COUNTED = -1  # in results that are older than the count


@dataclass
class Tally:
    """What one thing cost, over all its tries."""

    name: str
    tries: int = 0
    requests: int = 0
    lost: int = 0
    run_twice: int = 0
    never_accepted: int = 0
    turned_away: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, tries: int, verdicts: Verdicts) -> None:
        """Count one segment."""
        self.tries += tries
        self.requests += verdicts.tries
        self.lost += len(verdicts.lost())
        self.run_twice += len(verdicts.run_twice)
        self.never_accepted += len(verdicts.never_accepted)
        self.turned_away += len(verdicts.turned_away)

    def row(self) -> str:
        """One line of the report's table."""
        bound = upper_bound(self.lost, self.requests) if self.requests else 1.0
        turned_away = "-" if self.turned_away == NOT_COUNTED else self.turned_away
        return (
            f"| {self.name} | {self.tries} | {self.requests} | {self.lost} | {self.run_twice} "
            f"| {turned_away} | {self.never_accepted} | {bound:.1e} | {len(self.failures)} |"
        )


def stop_under(load: dict[str, Any]) -> Callable[[Service, Tally], None]:
    """`docker stop` under load."""

    def once(service: Service, tally: Tally) -> None:
        with service.load(**load) as running:
            time.sleep(1)
            code, took = service.container.stop()
            result = running.finish()
        verdicts = service.verdicts(result, ended_by_itself=True)
        tally.add(1, verdicts)
        if code:
            tally.failures.append(f"exit code {code} after {took:.1f} s")
        if (told := len(verdicts.turned_away)) > MOST_TURNED_AWAY:
            tally.failures.append(f"{told} clients got 503 at one stop")

    return once


def stop_with_request(service: Service, tally: Tally) -> None:
    """`docker stop` with a request of six seconds in flight."""
    with service.load("/sleep?s=6", connections=1, requests=1) as running:
        time.sleep(0.5)
        code, _ = service.container.stop()
        result = running.finish()
    tally.add(1, service.verdicts(result, ended_by_itself=True))
    if code or not result.counts["ok"]:
        tally.failures.append(f"exit code {code}, {result.counts}")


def reloads(service: Service, tally: Tally) -> None:
    """Ten reloads under load, a second apart."""
    spans = []
    with service.load(**STEADY) as running:
        time.sleep(1)
        steady = time.monotonic(), time.monotonic() + 3
        time.sleep(3)
        for _ in range(10):
            begun = time.monotonic()
            code, output = service.container.execute("docker-flask", "reload")
            spans.append((begun, time.monotonic()))
            if code:
                tally.failures.append(output)
            time.sleep(1)
        result = running.finish()
    tally.add(10, service.verdicts(result))
    meanwhile = result.between(*spans[0]).merge(*(result.between(*span) for span in spans[1:]))
    tally.notes.append(
        f"p99 {result.between(*steady).percentile(99):.1f} ms before, "
        f"{meanwhile.percentile(99):.1f} ms in the reloads"
    )


def kills(title: str, tries: int, method: str = "GET") -> Callable[[Service, Tally], None]:
    """SIGKILL of a process of this title, some times in a row, under load."""

    def once(service: Service, tally: Tally) -> None:
        body: dict[str, Any] = {"body_bytes": 100} if method == "POST" else {}
        with service.load(mode="new", rate=500, method=method, **body) as running:
            for _ in range(tries):
                time.sleep(0.5)
                before = service.processes(title)
                service.signal("KILL", before[0])
                wait_for(
                    lambda before=before: (
                        before[0] not in (now := service.processes(title))
                        and len(now) >= len(before)
                    ),
                    20,
                    f"{title} to be back",
                )
            time.sleep(1)
            result = running.finish()
        tally.add(tries, service.verdicts(result))

    return once


def exits(service: Service, tally: Tally) -> None:
    """Views that end their worker, beside healthy requests, which are what is counted."""
    with service.load(mode="new", rate=300) as running:
        for code in (0, 1, 15, 22, 31):
            service.container.get(f"/exit?how=os&code={code}")
            time.sleep(0.3)
        result = running.finish()
    tally.add(5, service.verdicts(result))


def pause(service: Service, tally: Tally) -> None:
    """A minute's pause, with requests in flight that need not be done before REQUEST_TIMEOUT."""
    with service.load("/sleep?s=0.5", connections=3, mode="new", timeout=90) as running:
        time.sleep(2)
        service.container.docker.pause()
        time.sleep(60)
        service.container.docker.unpause()
        time.sleep(3)
        result = running.finish()
    tally.add(1, service.verdicts(result))
    if result.counts["ok"] != sum(result.counts.values()):
        tally.failures.append(str({name: n for name, n in result.counts.items() if n}))


def overload(service: Service, tally: Tally) -> None:
    """Half a minute of twice what it can carry."""
    with service.load(mode="new", connections=64) as running:
        time.sleep(6)
        alone = running.finish()
    capacity = good_answers(alone, 1, 5)
    with service.load(mode="new", rate=int(2 * capacity)) as running:
        time.sleep(30)
        result = running.finish()
    begun = time.monotonic()
    service.container.wait_until_serving()
    back = time.monotonic() - begun
    tally.add(1, service.verdicts(alone, result, ended_by_itself=True))
    tally.notes.append(
        f"carries {capacity:.0f}/s; of twice that, {good_answers(result, 2, 28):.0f}/s answered "
        f"with 200, in all {result.counts['503_retry_after']} told to come back, "
        f"{result.counts['5xx']} other 5xx; the first request after it took {back:.2f} s"
    )


def good_answers(result: Result, start: float, end: float) -> float:
    """How many a second were answered with 200 between two times (s) after the beginning."""
    ends = (record.end - result.began for record in result.records if record.verdict == "ok")
    return sum(start < at < end for at in ends) / (end - start)


DEEDS: dict[str, Callable[[Service, Tally], None]] = {
    "1 stop, 4,000 new connections a second": stop_under(FAST),
    "1 stop, keep-alive": stop_under(KEPT),
    "2 stop, request of 6 s": stop_with_request,
    "5 reload": reloads,
    "8 worker killed, GET": kills("app worker", 10),
    "8 worker killed, POST": kills("app worker", 10, "POST"),
    "9 app server's master killed": kills("app master", DEATHS_A_CONTAINER),
    "9 nginx's master killed": kills("nginx master", DEATHS_A_CONTAINER),
    "9 nginx's worker killed": kills("nginx worker", DEATHS_A_CONTAINER),
    "12 view ends its worker": exits,
}
# Done a few times only: each takes a minute.
LONG: dict[str, Callable[[Service, Tally], None]] = {
    "15 twice the load, 30 s": overload,
    "18 paused for 60 s": pause,
}
LONG_TRIES = 3
# What a killed process has in hand, and nobody may send again.
MAY_LOSE = ("8 worker killed, POST", "9 nginx's worker killed")
# Of the container under the long mixed load.
MIXED_CPUS = 0.5
# A part of a CPU, so that a client on the same machine can offer twice what the container carries.
OPTIONS: dict[str, dict[str, Any]] = {
    "15 twice the load, 30 s": {"nano_cpus": 250_000_000},
    "18 paused for 60 s": {"env": {"REQUEST_TIMEOUT": "90"}},
}


def on_a_container(engine: Engine, what: Callable[[Service], None], **options: Any) -> None:
    """Do something to a fresh container that serves; options are the Engine's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        service = Service(engine, Path(folder), **options)
        service.container.wait_until_serving()
        try:
            what(service)
        finally:
            engine.remove_containers()


def repeat(engine: Engine, name: str, tries: int) -> Tally:
    """One row of the report."""
    tally = Tally(name)
    deed = (DEEDS | LONG)[name]
    while tally.tries < tries:
        on_a_container(engine, lambda service: deed(service, tally), **OPTIONS.get(name, {}))
        print(tally.row(), flush=True)
    return tally


@dataclass
class Mixed:
    """A long load of several kinds: memory (MB) and latency (ms) for each slice of time (s).

    memory: with the page cache, in which the record of the requests grows; anonymous: without.
    """

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def mixed_load(service: Service, minutes: float, mixed: Mixed, share: float = 0.6) -> None:
    """Some share of what the container can carry, as GET and POST, new and kept connections."""
    with service.load(mode="new", connections=16) as probe:
        time.sleep(5)
        capacity = probe.finish().counts["ok"] / 5
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < minutes * 60:
        rate = int(capacity * share / 2)
        with (
            service.load(mode="new", rate=rate, seconds=15) as gets,
            service.load(
                mode="keepalive", rate=rate, method="POST", body_bytes=1000, seconds=15
            ) as posts,
        ):
            result = gets.wait(60).merge(posts.wait(60))
        note(mixed, now, result, service)


def note(mixed: Mixed, at: float, result: Result, service: Service) -> None:
    """Add one slice of a mixed load."""
    memory = service.container.docker.stats(stream=False)["memory_stats"]
    mixed.seconds.append(at)
    mixed.memory.append(memory["usage"] / 1e6)
    mixed.anonymous.append(written_memory(service.container) / 1e6)
    mixed.median.append(result.percentile(50) or 0.0)
    mixed.p99.append(result.percentile(99) or 0.0)
    for verdict, count in result.counts.items():
        mixed.counts[verdict] = mixed.counts.get(verdict, 0) + count


def plot(mixed: Mixed, path: Path) -> None:
    """Memory and latency over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    memory, latency = figure.subplots(2, 1, sharex=True)
    minutes = [second / 60 for second in mixed.seconds]
    memory.plot(minutes, mixed.memory, label="with page cache", color="#94a3b8")
    if mixed.anonymous:
        memory.plot(minutes, mixed.anonymous, label="without", color="#0f766e")
    memory.legend()
    memory.set_ylabel("memory of the container, MB")
    memory.set_ylim(bottom=0)
    latency.semilogy(minutes, mixed.median, label="median", color="#0f766e")
    latency.semilogy(minutes, mixed.p99, label="p99", color="#b91c1c")
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("minutes")
    latency.legend()
    figure.savefig(path)


def report(engine: Engine, rows: list[Tally], mixed: Mixed, remark: str, picture: str) -> str:
    """The Markdown text; remark: what a reader should know of the machine."""
    base = os.environ.get("BASE_IMAGE", "ubuntu:24.04")
    lines = [
        "# Soak",
        "",
        f"By `make soak` on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()} with "
        f"{os.cpu_count()} CPUs, base image `{base}`, engine {engine.client.version()['Version']}.",
        "`lost` are requests that the application began or nginx accepted and that got no whole",
        "answer; the bound is that of their share, with 95 % confidence. `reset` are those that",
        "nobody had accepted. `503` are those that were told to retry (Retry-After): a stop with",
        f"more than {MOST_TURNED_AWAY} of them is a failure.",
        remark,
        "",
        "| done | tries | requests | lost | run twice | 503 | reset | bound | failures |",
        "|---|---|---|---|---|---|---|---|---|",
        *(tally.row() for tally in rows),
        "",
        *(f"- {row.name}: {line}" for row in rows for line in (*row.notes, *row.failures)),
        "",
    ]
    if mixed.seconds:
        counts = (f"{count} {verdict}" for verdict, count in mixed.counts.items() if count)
        lines += [
            f"A mixed load of {mixed.seconds[-1] / 60:.0f} minutes at 60 % of what {MIXED_CPUS:g} "
            f"CPU can carry: {', '.join(counts)}. The memory is the engine's figure: the record of",
            "the requests, a file that grows, is in its page cache.",
            "",
            f"![Memory and latency over time]({picture})",
        ]
    return "\n".join(lines) + "\n"


class Results:
    """What was found so far, kept beside the report: a run of hours can be done in parts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = folder / "soak.json"
        kept = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.rows = {
            name: Tally(**{"turned_away": NOT_COUNTED, **row})
            for name, row in kept.get("rows", {}).items()
        }
        self.mixed = Mixed(**kept.get("mixed", {}))
        self.remark = kept.get("remark", "")

    def write(self, engine: Engine) -> None:
        """Write data, picture and report."""
        rows = {name: asdict(row) for name, row in self.rows.items()}
        kept = {"rows": rows, "mixed": asdict(self.mixed), "remark": self.remark}
        self._file.write_text(json.dumps(kept) + "\n")
        if self.mixed.seconds:
            plot(self.mixed, self._folder / "soak.svg")
        known = [self.rows[name] for name in DEEDS | LONG if name in self.rows]
        (self._folder / "soak.md").write_text(
            report(engine, known, self.mixed, self.remark, "soak.svg")
        )


def main() -> int:
    """Run all of it, or a part, and write the report; 1 if what may lose nothing has lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the mixed load; 0 for none")
    parser.add_argument("--remark", help="what a reader should know of the machine")
    parser.add_argument("--only", nargs="*", metavar="ROW", help="rows whose names begin so")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/reports")
    options = parser.parse_args()
    engine, results = Engine(f"soak-{os.getpid()}"), Results(options.out)
    results.remark = options.remark or results.remark
    tries = dict.fromkeys(DEEDS, options.tries)
    tries |= dict.fromkeys(LONG, min(LONG_TRIES, options.tries))
    try:
        for name, number in tries.items():
            if options.only is None or name.startswith(tuple(options.only)):
                results.rows[name] = repeat(engine, name, number)
                results.write(engine)
        if options.minutes:
            results.mixed = Mixed()
            on_a_container(
                engine,
                lambda service: mixed_load(service, options.minutes, results.mixed),
                nano_cpus=int(MIXED_CPUS * 1e9),
            )
        results.write(engine)
    finally:
        engine.remove_containers()
    bad = [r for r in results.rows.values() if r.failures or (r.lost and r.name not in MAY_LOSE)]
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
