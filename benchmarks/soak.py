"""Does the same things to a container again and again, and counts what is lost: `make soak`.

Prints a table: for each thing that is done, how often, under how many requests, what was lost, and
the bound below which the true share lies with 95 % confidence; then a long mixed load, with memory
and latency over time.

    python -m benchmarks.soak --tries 3 --minutes 3 --only "1 stop"
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks import common
from tests.image import test_https_loss as https
from tests.support.harness import Engine, wait_for
from tests.support.loss import Service, written_memory
from tests.support.loss_checker.record import Verdicts, read_record, upper_bound
from tests.support.loss_checker.result import Result

FAST = {"mode": "new", "rate": 4000}
NEW = {"mode": "new", "rate": 1000}
STEADY: dict[str, Any] = {"mode": "new", "rate": 300}
KEPT = {"mode": "keepalive", "connections": 32}
# Tries on one container, before the next: a container gives up after five deaths in a minute.
DEATHS_A_CONTAINER = 5
MOST_TURNED_AWAY = 16  # clients that one stop may answer with 503
MIXED_CPUS, MIXED_SHARE, SLICES = 0.5, 0.6, 12
COLUMNS = (
    "tries",
    "requests",
    "lost",
    "of them begun",
    "run twice",
    "503",
    "reset",
    "bound of the share lost (95 %)",
    "exit codes",
    "seconds",
)


@dataclass
class Tally:
    """What one thing cost, over all its tries.

    codes: of containers that ended; seconds: of `docker stop`, or the longest without a response.
    """

    tries: int = 0
    requests: int = 0
    lost: int = 0
    begun_lost: int = 0
    run_twice: int = 0
    turned_away: int = 0
    never_accepted: int = 0
    codes: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, tries: int, verdicts: Verdicts) -> None:
        """Count one segment; `requests` counts only those that were sent on a connection."""
        self.tries += tries
        self.requests += verdicts.tries - len(verdicts.unsent)
        self.lost += len(verdicts.lost())
        self.begun_lost += len(verdicts.begun_lost)
        self.run_twice += len(verdicts.run_twice)
        self.turned_away += len(verdicts.turned_away)
        self.never_accepted += len(verdicts.never_accepted)

    def cells(self) -> list[str]:
        """The cells of COLUMNS."""
        numbers = (self.tries, self.requests, self.lost, self.begun_lost, self.run_twice)
        bound = upper_bound(self.lost, self.requests) if self.requests else 1.0
        seconds = ""
        if self.seconds:
            seconds = f"{median(self.seconds):.2f} (at most {max(self.seconds):.2f})"
        return [
            *(f"{count:,}" for count in (*numbers, self.turned_away, self.never_accepted)),
            f"{bound:.1e}",
            ", ".join(map(str, sorted(self.codes))),
            seconds,
        ]


Deed = Callable[[Service, Tally], None]


def ended(service: Service, tally: Tally) -> None:
    """Stop the container."""
    code, took = service.container.stop()
    tally.codes.add(code)
    tally.seconds.append(took)


def stop_under(load: dict[str, Any]) -> Deed:
    """`docker stop` under load."""

    def once(service: Service, tally: Tally) -> None:
        with service.load(**load) as running:
            time.sleep(1)
            ended(service, tally)
            result = running.finish()
        verdicts = service.verdicts(result, ended_by_itself=True)
        tally.add(1, verdicts)
        if (told := len(verdicts.turned_away)) > MOST_TURNED_AWAY:
            tally.failures.append(f"{told} clients got 503 at one stop")

    return once


def stop_with(path: str) -> Deed:
    """`docker stop` with one request in flight, once the application has begun it."""

    def once(service: Service, tally: Tally) -> None:
        with service.load(path, connections=1, requests=1, timeout=30) as running:
            wait_for(lambda: read_record(service.record).starts, 10, "the request to begin")
            ended(service, tally)
            result = running.finish()
        tally.add(1, service.verdicts(result, ended_by_itself=True))

    return once


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


def kills(
    role: str, times: int, rate: int = 500, path: str = "/", method: str = "GET"
) -> Callable[[Service, Tally], None]:
    """SIGKILL of a process of this role, some times in a row, under load."""

    def once(service: Service, tally: Tally) -> None:
        body: dict[str, Any] = {"body_bytes": 100} if method == "POST" else {}
        with service.load(path, mode="new", rate=rate, method=method, **body) as running:
            for _ in range(times):
                time.sleep(0.5)
                before = service.processes(role)
                service.signal("KILL", before[0])
                if not replaced(service, role, before):
                    tally.failures.append(f"{role} is not replaced")
                    break
            time.sleep(1)
            result = running.finish()
        tally.add(times, service.verdicts(result))
        tally.seconds.append(result.longest_gap())
        if not service.container.running():
            tally.codes.add(service.container.wait_for_exit())

    return once


def replaced(service: Service, role: str, before: list[int], seconds: float = 20) -> bool:
    """Whether there are as many processes again, without the first one of before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and service.container.running():
        now = service.processes(role)
        if before[0] not in now and len(now) >= len(before):
            return True
        time.sleep(0.05)
    return False


def exits(service: Service, tally: Tally) -> None:
    """Views that end their worker, beside healthy requests, which are what is counted."""
    with service.load(**STEADY) as running:
        for code in (0, 1, 15, 22, 31):
            service.container.get(f"/exit?how=os&code={code}")
            time.sleep(0.3)
        result = running.finish()
    tally.add(5, service.verdicts(result))


def swaps(service: Service, tally: Tally) -> None:
    """Ten certificates, one after another, under load over HTTPS."""
    with https.under_load(service) as results:
        for _ in range(10):
            https.swap(service)
    tally.add(10, service.verdicts(*results.values(), ended_by_itself=True))


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


DEEDS: dict[str, Deed] = {
    "1 stop, 4,000 new connections a second": stop_under(FAST),
    "1 stop, keep-alive": stop_under(KEPT),
    "2 stop, request of 6 s": stop_with("/sleep?s=6"),
    "5 reload": reloads,
    "8 worker killed, GET": kills("app worker", 10),
    "8 worker killed, POST": kills("app worker", 10, method="POST"),
    "9 app server's master killed": kills("app master", DEATHS_A_CONTAINER),
    "9 nginx's master killed": kills("nginx master", DEATHS_A_CONTAINER),
    "9 nginx's worker killed": kills("nginx worker", DEATHS_A_CONTAINER),
    "12 view ends its worker": exits,
    "20 certificate swapped, HTTPS": swaps,
}
# Done a few times only: each takes a minute.
LONG: dict[str, Deed] = {"15 twice the load, 30 s": overload, "18 paused for 60 s": pause}
LONG_TRIES = 3
# What a killed process has in hand, and nobody may send again.
MAY_LOSE = ("8 worker killed, POST", "9 nginx's worker killed")
# A part of a CPU, so that a client on the same machine can offer twice what the container carries.
OPTIONS: dict[str, dict[str, Any]] = {
    "15 twice the load, 30 s": {"nano_cpus": 250_000_000},
    "18 paused for 60 s": {"env": {"REQUEST_TIMEOUT": "90"}},
}


def repeat(engine: Engine, name: str, tries: int) -> Tally:
    """One row of the table: each time on a new container."""
    tally = Tally()
    while tally.tries < tries:
        with common.folder() as folder:
            if "HTTPS" in name:
                service = https.start(engine, folder)
            else:
                service = Service(engine, folder, **OPTIONS.get(name, {}))
            service.container.wait_until_serving()
            (DEEDS | LONG)[name](service, tally)
            engine.remove_containers()
    common.print_row(name, *tally.cells())
    return tally


def mixed_load(service: Service, minutes: float) -> None:
    """A share of what the container can carry, as GET and POST, new and kept connections."""
    with service.load(mode="new", connections=16) as probe:
        time.sleep(5)
        capacity = probe.finish().counts["ok"] / 5
    rate, seconds = int(capacity * MIXED_SHARE / 2), minutes * 60 / SLICES
    print(f"\nA mixed load of {MIXED_SHARE:.0%} of what {MIXED_CPUS:g} CPU can carry:")
    common.print_head("minute", "responses", "memory", "without page cache", "median", "p99")
    for number in range(1, SLICES + 1):
        options: dict[str, Any] = {"rate": rate, "seconds": seconds}
        post = {**options, "mode": "keepalive", "method": "POST", "body_bytes": 1000}
        with service.load(**options) as gets, service.load(**post) as posts:
            result = gets.wait(seconds + 60).merge(posts.wait(seconds + 60))
        memory = service.container.docker.stats(stream=False)["memory_stats"]["usage"]
        common.print_row(
            f"{number * minutes / SLICES:g}",
            ", ".join(f"{count:,} {what}" for what, count in result.counts.items() if count),
            f"{memory / 1e6:.0f} MB",
            f"{written_memory(service.container) / 1e6:.0f} MB",
            *(f"{result.percentile(percent) or 0:.1f} ms" for percent in (50, 99)),
        )


def main() -> int:
    """Run all of it, or a part; 1 if what may lose nothing has lost."""
    parser = common.parser(__doc__, tries=100, minutes=60.0)
    parser.add_argument("--only", nargs="*", metavar="ROW", help="rows whose names begin so")
    options = parser.parse_args()
    tallies: dict[str, Tally] = {}
    with common.engine("soak") as engine:
        print(common.about(engine))
        common.print_head("done", *COLUMNS)
        for name in DEEDS | LONG:
            if options.only is None or name.startswith(tuple(options.only)):
                tries = min(LONG_TRIES, options.tries) if name in LONG else options.tries
                tallies[name] = repeat(engine, name, tries)
        print()
        for name, tally in tallies.items():
            if tally.lost and name not in MAY_LOSE:
                tally.failures.append(f"{tally.lost} lost")
            if tally.codes - {0}:
                tally.failures.append(f"exit codes {tally.codes}")
            for line in (*tally.notes, *(f"FAILED: {failure}" for failure in tally.failures)):
                print(f"- {name}: {line}")
        if options.minutes:
            with common.folder() as folder:
                service = Service(engine, folder, nano_cpus=int(MIXED_CPUS * 1e9))
                service.container.wait_until_serving()
                mixed_load(service, options.minutes)
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
