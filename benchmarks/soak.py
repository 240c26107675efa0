"""Does the same things to a container again and again, and counts: `make soak`.

Writes a Markdown report: for each thing that is done, how often, under how many requests, what was
lost, and the bound below which the true share lies with 95 % confidence; then a long mixed load,
with memory and latency over time as a plot.

    python benchmarks/soak.py --tries 100 --minutes 60 --out docs/soak
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness import Engine, wait_for  # noqa: E402
from judge.record import Verdicts, upper_bound  # noqa: E402
from judge.result import Result  # noqa: E402
from loss import Service  # noqa: E402

NEW = {"mode": "new", "rate": 1000}
KEPT = {"mode": "keepalive", "connections": 32}
# Tries on one container, before the next: a container gives up after five deaths in a minute.
DEATHS_A_CONTAINER = 5


@dataclass
class Tally:
    """What one thing cost, over all its tries."""

    name: str
    tries: int = 0
    requests: int = 0
    lost: int = 0
    run_twice: int = 0
    never_accepted: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, tries: int, verdicts: Verdicts) -> None:
        """Count one segment."""
        self.tries += tries
        self.requests += verdicts.tries
        self.lost += len(verdicts.lost())
        self.run_twice += len(verdicts.run_twice)
        self.never_accepted += len(verdicts.never_accepted)

    def row(self) -> str:
        """One line of the report's table."""
        bound = upper_bound(self.lost, self.requests) if self.requests else 1.0
        return (
            f"| {self.name} | {self.tries} | {self.requests} | {self.lost} | {self.run_twice} "
            f"| {self.never_accepted} | {bound:.1e} | {len(self.failures)} |"
        )


def stop_under(load: dict[str, object]) -> Callable[[Service, Tally], None]:
    """`docker stop` under load."""

    def once(service: Service, tally: Tally) -> None:
        with service.load(**load) as running:
            time.sleep(1)
            code, took = service.container.stop()
            result = running.finish()
        tally.add(1, service.verdicts(result, ended_by_itself=True))
        if code:
            tally.failures.append(f"exit code {code} after {took:.1f} s")

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
    """Ten reloads under load."""
    with service.load(**NEW) as running:
        for _ in range(10):
            code, output = service.container.execute("docker-flask", "reload")
            if code:
                tally.failures.append(output)
        result = running.finish()
    tally.add(10, service.verdicts(result))


def kills(title: str, tries: int, method: str = "GET") -> Callable[[Service, Tally], None]:
    """SIGKILL of a process of this title, some times in a row, under load."""

    def once(service: Service, tally: Tally) -> None:
        body = {"body_bytes": 100} if method == "POST" else {}
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
                    5,
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


DEEDS: dict[str, Callable[[Service, Tally], None]] = {
    "1 stop, new connections": stop_under(NEW),
    "1 stop, keep-alive": stop_under(KEPT),
    "2 stop, request of 6 s": stop_with_request,
    "5 reload": reloads,
    "8 worker killed, GET": kills("uWSGI worker", 10),
    "8 worker killed, POST": kills("uWSGI worker", 10, "POST"),
    "9 uWSGI's master killed": kills("uWSGI master", DEATHS_A_CONTAINER),
    "9 nginx's master killed": kills("nginx: master", DEATHS_A_CONTAINER),
    "9 nginx's worker killed": kills("nginx: worker", DEATHS_A_CONTAINER),
    "12 view ends its worker": exits,
}


def on_a_container(engine: Engine, what: Callable[[Service], None]) -> None:
    """Do something to a fresh container that serves."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        service = Service(engine, Path(folder))
        service.container.wait_until_serving()
        try:
            what(service)
        finally:
            engine.remove_containers()


def repeat(engine: Engine, name: str, tries: int) -> Tally:
    """One row of the report."""
    tally = Tally(name)
    while tally.tries < tries:
        on_a_container(engine, lambda service: DEEDS[name](service, tally))
        print(tally.row(), flush=True)
    return tally


@dataclass
class Mixed:
    """A long load of several kinds: memory (MB) and latency (ms) for each slice of time (s)."""

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def mixed_load(service: Service, minutes: float, share: float = 0.6) -> Mixed:
    """Some share of what the container can carry, as GET and POST, new and kept connections."""
    with service.load(mode="new", connections=16) as probe:
        time.sleep(5)
        capacity = probe.finish().counts["ok"] / 5
    mixed, begun = Mixed(), time.monotonic()
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
    return mixed


def note(mixed: Mixed, at: float, result: Result, service: Service) -> None:
    """Add one slice of a mixed load."""
    memory = service.container.docker.stats(stream=False)["memory_stats"]["usage"]
    mixed.seconds.append(at)
    mixed.memory.append(memory / 1e6)
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
    memory.plot(minutes, mixed.memory, color="#0f766e")
    memory.set_ylabel("memory of the container, MB")
    memory.set_ylim(bottom=0)
    latency.semilogy(minutes, mixed.median, label="median", color="#0f766e")
    latency.semilogy(minutes, mixed.p99, label="p99", color="#b91c1c")
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("minutes")
    latency.legend()
    figure.savefig(path)


def report(engine: Engine, tallies: list[Tally], mixed: Mixed, picture: str) -> str:
    """The Markdown text."""
    base = os.environ.get("BASE_IMAGE", "ubuntu:24.04")
    lines = [
        "# Soak",
        "",
        f"By `make soak` on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()} with "
        f"{os.cpu_count()} CPUs, base image `{base}`, engine {engine.client.version()['Version']}.",
        "Rows are numbered as in the issue that asked for them. `lost` are requests that the",
        "application began or nginx accepted and that got no whole answer; the bound is that of",
        "their share, with 95 % confidence.",
        "",
        "| done | tries | requests | lost | run twice | reset unaccepted | bound | failures |",
        "|---|---|---|---|---|---|---|---|",
        *(tally.row() for tally in tallies),
        "",
        *(f"- {tally.name}: {failure}" for tally in tallies for failure in tally.failures),
        "",
        f"A mixed load of {(mixed.seconds or [0])[-1] / 60:.0f} minutes at 60 % of capacity:",
        ", ".join(f"{count} {verdict}" for verdict, count in mixed.counts.items() if count) + ".",
        "",
        f"![Memory and latency over time]({picture})",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/soak")
    options = parser.parse_args()
    engine = Engine("soak")
    mixed = Mixed()

    def long_load(service: Service) -> None:
        nonlocal mixed
        mixed = mixed_load(service, options.minutes)

    try:
        tallies = [repeat(engine, name, options.tries) for name in DEEDS]
        on_a_container(engine, long_load)
    finally:
        engine.remove_containers()
    options.out.mkdir(parents=True, exist_ok=True)
    plot(mixed, options.out / "mixed.svg")
    (options.out / "README.md").write_text(report(engine, tallies, mixed, "mixed.svg"))


if __name__ == "__main__":
    main()
