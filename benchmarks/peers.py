"""Does to other ways of serving Flask what `make soak` does: `make measure WHAT=peers`.

Each thing is done to each image as its own users run it, under the load of the same client, and
counted the same way. Writes a Markdown table.

    python -m benchmarks.peers --tries 10 --out benchmarks/reports/loss-of-peers.md
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peer_images
from benchmarks.soak import KEPT, NEW, Tally, kills, stop_under
from tests.support.harness import BASE_IMAGE, IMAGE, Container, Engine, wait_for
from tests.support.loss import Service
from tests.support.loss_checker.record import Verdicts, read_record
from tests.support.loss_checker.result import Result, Verdict
from tests.support.servers import SERVERS

ROOT = Path(__file__).parents[1]

KILLS_A_CONTAINER = 10  # of workers, one after another
CONTROLS_A_CONTAINER = 10  # loads of a second each, under which nothing is done
IDLE_SECONDS, IDLE_TICKS = 0.5, 1
# A try at a steady rate says nothing about a peer whose requests, before anything was done to it,
# took longer than this (p99): then other work had the machine. It is made again, in one more round.
CALM_MS = 50
ROUNDS = 2
WATCH_SECONDS = 2  # after a server's process was killed
FAST = {"mode": "new", "rate": 500}
# Requests long enough that a worker has one most of the time, and few enough for three workers.
LONG = {"path": "/sleep?s=0.1", "mode": "new", "rate": 20}
# Containers under no load but one request leave each other alone, so that several can be tried at
# once; those under load have the machine to themselves.
IDLE_AT_ONCE = 6


@dataclass(frozen=True)
class Peer:
    """One of the images that are compared.

    app, front: how the command lines of the application server's and of nginx's processes begin,
    as a regular expression; front is None where there is no nginx. program: the former, of which
    the report says the version.
    """

    name: str
    image: str
    program: str
    app: str
    front: str | None

    def pattern(self, role: str) -> str | None:
        """The expression for a role, such as "app worker"; None where the peer has no such."""
        return self.front if role.startswith("nginx") else self.app

    def version(self, engine: Engine) -> str:
        """What its application server says of itself."""
        output = engine.client.containers.run(
            self.image, ["--version"], entrypoint=self.program, remove=True
        )
        return re.sub(r"[^\d.]*([\w.+-]+).*", r"\1", output.decode(), flags=re.DOTALL)


NGINX = "nginx: (master|worker)"


def all_peers() -> list[Peer]:
    """Ours and the others, whose images are built."""
    uwsgi = SERVERS["uwsgi"]
    # Nothing renames the processes of the others: a master has its workers' command line.
    return [
        Peer("ours", IMAGE, "uwsgi", f"{uwsgi.master}|{uwsgi.worker}", NGINX),
        Peer("tutorial", peer_images.build("tutorial"), "uwsgi", "uwsgi --ini", NGINX),
        Peer(
            "gunicorn-gevent",
            peer_images.build("gunicorn-gevent"),
            "gunicorn",
            r"\S*python\S* \S*/gunicorn ",
            None,
        ),
    ]


@dataclass
class Cost(Tally):
    """What one thing cost a peer, over all its tries."""

    losses: list[int] = field(default_factory=list)  # on each container
    begun_lost: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)  # of `docker stop`, or without any answer
    codes: list[int] = field(default_factory=list)  # exit codes of the containers that ended
    down: int = 0  # tries after which nothing was served any more
    void: int = 0  # tries that say nothing: see CALM_MS
    broken: list[str] = field(default_factory=list)  # tries that could not be made

    def add(self, tries: int, verdicts: Verdicts) -> None:
        """Count one segment; requests are only those that were sent to somebody."""
        super().add(tries, verdicts)
        self.requests -= len(verdicts.unsent)
        self.losses.append(len(verdicts.lost()))
        self.begun_lost += len(verdicts.begun_lost)
        self.refused += verdicts.counts["refused"]

    def __add__(self, other: Cost) -> Cost:
        """The cost of the tries of both."""
        return Cost(
            self.name,
            **{
                one.name: getattr(self, one.name) + getattr(other, one.name)
                for one in fields(self)
                if one.name != "name"
            },
        )

    def loss(self) -> str:
        """The requests that were lost, how many of them the application had begun, and reruns."""
        spread = ""
        if len(self.losses) > 1:
            middle, most = statistics.median(self.losses), max(self.losses)
            spread = f"; a try {middle:g}, at most {most}"
        details = f" ({self.begun_lost} begun{spread})" if self.lost else ""
        twice = f", run twice {self.run_twice}" if self.run_twice else ""
        return f"lost {self.lost}{details} of {self.requests}{twice}"

    def ends(self) -> str:
        """Exit codes, without repetition."""
        return "exit " + ", ".join(map(str, sorted(set(self.codes))))

    def took(self) -> str:
        """The median of the seconds, and the greatest if it differs."""
        middle, most = (f"{f(self.seconds):.2f}" for f in (statistics.median, max))
        return f"{middle} s" if middle == most else f"{middle} s (at most {most})"


class WatchedContainer(Container):
    """Remembers how long `docker stop` took and with which code the container ended."""

    stopped: tuple[int, float] | None = None
    touched = float("inf")  # when it was first done something to, in s of time.monotonic()

    def touch(self) -> None:
        """Something is about to be done to it."""
        self.touched = min(self.touched, time.monotonic())

    def stop(self, seconds: int = 10) -> tuple[int, float]:
        """`docker stop`; returns the exit code and how long it took."""
        self.touch()
        self.stopped = super().stop(seconds)
        return self.stopped

    def ended_at(self) -> float:
        """When process 1 ended, in seconds of time.monotonic(); infinity while it runs."""
        if self.running():
            return float("inf")
        text = self.docker.attrs["State"]["FinishedAt"]
        # The engine writes nanoseconds, which Python can't read.
        wall = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text)).timestamp()
        return wall - time.time() + time.monotonic()


class PeerService(Service):
    """A peer that serves the judge's application. Its processes are seen from the host."""

    def __init__(self, engine: Engine, folder: Path, peer: Peer) -> None:
        super().__init__(engine, folder, image=peer.image)
        self.peer = peer
        self.p99_before: float | None = None  # ms, of the requests before anything was done
        self.container: WatchedContainer = WatchedContainer(self.container.docker)

    def verdicts(self, *results: Result, ended_by_itself: bool = False) -> Verdicts:
        """Join what clients and application noted. No server's log is asked, as not all have one.

        Nothing counts as refused once the container has ended: an ended one can't but refuse.
        """
        self.p99_before = results[0].between(0, self.container.touched).percentile(99)
        end = self.container.ended_at() if self.container.stopped else float("inf")
        counted = [
            Result(
                result.began,
                result.ended,
                [one for one in result.records if one.verdict != Verdict.REFUSED or one.end < end],
            )
            for result in results
        ]
        return super().verdicts(*counted)

    def processes(self, role: str) -> list[int]:
        """Pids, as the host numbers them, of "app master", "app worker", "nginx master", ...

        A worker's parent matches the same pattern; a master's does not.
        """
        pattern = self.peer.pattern(role)
        rows = self.container.docker.top(ps_args="-eo pid,ppid,args")["Processes"]
        found = {int(pid): int(parent) for pid, parent, line in rows if _matches(pattern, line)}
        is_worker = role.endswith("worker")
        return sorted(pid for pid, parent in found.items() if (parent in found) is is_worker)

    def wait_until_idle(self) -> None:
        """Until all workers have loaded the application, not only the one that answered first."""

        def is_idle() -> bool:
            before = self._ticks()
            time.sleep(IDLE_SECONDS)
            return self._ticks() - before <= IDLE_TICKS

        wait_for(is_idle, 30, "the workers to be idle")

    def _ticks(self) -> int:
        """Processor time that the container's processes have used, in the kernel's ticks."""
        ticks = 0
        for (pid,) in self.container.docker.top(ps_args="-eo pid")["Processes"]:
            with suppress(OSError):  # it has ended meanwhile
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(words[11]) + int(words[12])  # utime, stime
        return ticks

    def signal(self, name: str, *pids: int) -> None:
        """Send a signal from the host: inside, nobody can kill process 1, but the kernel does."""
        self.container.touch()
        for pid in pids:
            os.kill(pid, signal.Signals[f"SIG{name}"])


def _matches(pattern: str | None, line: str) -> bool:
    return pattern is not None and re.match(pattern, line) is not None


Deed = Callable[[PeerService, Cost], None]


def nothing(load: dict[str, Any]) -> Deed:
    """A second of load, some times in a row, to see what is lost without anything being done."""

    def once(service: PeerService, cost: Cost) -> None:
        results = []
        for _ in range(CONTROLS_A_CONTAINER):
            with service.load(seconds=1, **load) as running:
                results.append(running.wait(30))
        cost.add(CONTROLS_A_CONTAINER, service.verdicts(*results))

    return once


def stop_with(path: str) -> Deed:
    """`docker stop` with one request in flight, once the application has begun it."""

    def once(service: PeerService, cost: Cost) -> None:
        with service.load(path, connections=1, requests=1, timeout=30) as running:
            wait_for(lambda: read_record(service.record).starts, 10, "the request to begin")
            service.container.stop()
            result = running.finish()
        cost.add(1, service.verdicts(result))

    return once


def kill_once(role: str, load: dict[str, Any]) -> Deed:
    """SIGKILL of one process under load, once, and what follows."""

    def once(service: PeerService, cost: Cost) -> None:
        with service.load(**load) as running:
            time.sleep(1)
            victim = service.processes(role)[0]
            killed = time.monotonic()
            service.signal("KILL", victim)
            time.sleep(WATCH_SECONDS)
            result = running.finish()
        cost.add(1, service.verdicts(result))
        cost.seconds.append(result.longest_gap())
        cost.down += not serves_after(result, killed + WATCH_SECONDS / 2)
        if not service.container.running():
            cost.codes.append(service.container.wait_for_exit())

    return once


def serves_after(result: Result, at: float) -> bool:
    """Whether a request that was due after a point in time (s, monotonic) got its answer."""
    return any(one.start > at and one.verdict == Verdict.OK for one in result.records)


def of_a_stop(cost: Cost) -> str:
    """A cell of the table, for `docker stop`."""
    return (
        f"n {cost.tries}, {cost.loss()}, 503 {cost.turned_away}, refused {cost.refused}, "
        f"{cost.ends()}, after {cost.took()}"
    )


def of_an_endless_stop(cost: Cost) -> str:
    """The same where nothing could have answered the request."""
    return f"n {cost.tries}, {cost.ends()}, after {cost.took()}"


def of_a_load(cost: Cost) -> str:
    """The same where the container went on."""
    return f"n {cost.tries}, {cost.loss()}, refused {cost.refused}"


def of_a_server_killed(cost: Cost) -> str:
    """The same where it may have gone on, or not."""
    container = f"container ends ({cost.ends()})" if cost.codes else "container lives"
    if cost.codes and len(cost.codes) < cost.tries:
        container = f"container ends in {len(cost.codes)} of {cost.tries} ({cost.ends()})"
    served = f"no answer for {cost.took()}"
    if cost.down:
        served = f"never serves again ({cost.down} of {cost.tries})"
    return f"{of_a_load(cost)}, {served}, {container}"


@dataclass(frozen=True)
class Row:
    """A thing that is done, and how it is reported.

    tries: how many one container is good for; at_once: containers at a time; role: the process
    that a peer must have for it; calm_ms: what makes a try void, see CALM_MS.
    """

    name: str
    deed: Deed
    cell: Callable[[Cost], str]
    tries: int = 1
    at_once: int = 1
    role: str | None = None
    calm_ms: float = math.inf


def kill_worker(method: str) -> Row:
    """SIGKILL of the application server's workers, under load."""
    return Row(
        f"8 app worker killed, {method}",
        kills("app worker", KILLS_A_CONTAINER, method),
        of_a_load,
        tries=KILLS_A_CONTAINER,
        calm_ms=CALM_MS,
    )


ROWS = [
    Row("0 nothing, new connections", nothing(NEW), of_a_load, tries=CONTROLS_A_CONTAINER),
    Row("0 nothing, keep-alive", nothing(KEPT), of_a_load, tries=CONTROLS_A_CONTAINER),
    Row("1 stop, new connections", stop_under(NEW), of_a_stop, calm_ms=CALM_MS),
    Row("1 stop, keep-alive", stop_under(KEPT), of_a_stop),
    Row("2 stop, request of 6 s", stop_with("/sleep?s=6"), of_a_stop, at_once=IDLE_AT_ONCE),
    Row(
        "3 stop, request that hangs",
        stop_with("/hang"),
        of_an_endless_stop,
        at_once=IDLE_AT_ONCE,
    ),
    Row(
        "3 stop, endless stream",
        stop_with("/sse"),
        of_an_endless_stop,
        at_once=IDLE_AT_ONCE,
    ),
    kill_worker("GET"),
    kill_worker("POST"),
    Row("8 app worker killed, GET of 0.1 s", kill_once("app worker", LONG), of_a_load),
    *(
        Row(
            f"9 {role} killed",
            kill_once(role, FAST),
            of_a_server_killed,
            role=role,
            calm_ms=CALM_MS,
        )
        for role in ("app master", "nginx master", "nginx worker")
    ),
]


@contextmanager
def serving(peer: Peer) -> Iterator[PeerService]:
    """A fresh container of a peer that serves the judge's application, removed at the end."""
    engine = Engine(f"peers-{secrets.token_hex(4)}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        try:
            service = PeerService(engine, Path(folder), peer)
            service.container.wait_until_serving()
            service.wait_until_idle()
            yield service
        finally:
            engine.remove_containers()
            engine.client.close()


def one_container(row: Row, peer: Peer) -> Cost:
    """Do a row's thing to one container; a try that can't be made is listed as broken."""
    cost = Cost(row.name)
    try:
        with serving(peer) as service:
            row.deed(service, cost)
            if service.container.stopped is not None:
                code, took = service.container.stopped
                cost.codes.append(code)
                cost.seconds.append(took)
            if (service.p99_before or 0) > row.calm_ms:
                return Cost(row.name, void=row.tries)
    except Exception as error:  # is reported, and must not cost the rest of a long run
        cost.broken.append(f"{peer.name}: {type(error).__name__}: {error}")
        print(cost.broken[-1], file=sys.stderr, flush=True)
    return cost


def all_tries(row: Row, peer: Peer, tries: int) -> Cost:
    """One cell of the table."""
    whole = Cost(row.name)
    for _ in range(ROUNDS):
        containers = math.ceil((tries - whole.tries) / row.tries)
        with ThreadPoolExecutor(row.at_once) as pool:
            costs = pool.map(lambda _: one_container(row, peer), range(containers))
            whole = sum(costs, whole)
    return whole


def cell(row: Row, cost: Cost | None) -> str:
    """The text of one cell; None for a peer without the process in question."""
    if cost is None:
        return "has none"
    text = row.cell(cost) if cost.tries else "could not be measured"
    return f"{text} (void: {cost.void})" if cost.void else text


def measure(compared: list[Peer], tries: int) -> dict[str, list[Cost | None]]:
    """Every row, with the cost to each peer; printed as it grows."""
    costs: dict[str, list[Cost | None]] = {}
    for row in ROWS:
        costs[row.name] = []
        for peer in compared:
            has_it = row.role is None or peer.pattern(row.role) is not None
            cost = all_tries(row, peer, tries) if has_it else None
            costs[row.name].append(cost)
            print(f"{row.name} | {peer.name} | {cell(row, cost)}", flush=True)
    return costs


NOTES = Path(__file__).with_name("peers") / "NOTES.md"


def report(
    engine: Engine, compared: list[Peer], costs: dict[str, list[Cost | None]], busy: str
) -> str:
    """The Markdown text; busy: the machine's load while all this was measured."""
    broken = [
        f"- could not be made: {name}, {reason.splitlines()[0]}"
        for name, row in costs.items()
        for cost in row
        if cost is not None
        for reason in cost.broken
    ]
    lines = [
        "# The same, done to others",
        "",
        f"By `make measure WHAT=peers` on {datetime.now(UTC):%Y-%m-%d}, {platform.machine()} with "
        f"{os.cpu_count()} CPUs, base image `{BASE_IMAGE}`, "
        f"engine {engine.client.version()['Version']}.",
        "Application servers: "
        + ", ".join(f"{peer.name} {peer.program} {peer.version(engine)}" for peer in compared)
        + ".",
        f"Load average of the machine, a minute's: {busy}.",
        "",
        f"| done | {' | '.join(peer.name for peer in compared)} |",
        "|---" * (1 + len(compared)) + "|",
        *(
            f"| {row.name} | {' | '.join(cell(row, cost) for cost in costs[row.name])} |"
            for row in ROWS
        ),
        "",
        *broken,
        *([""] if broken else []),
        NOTES.read_text(),
    ]
    return "\n".join(lines)


def main() -> None:
    """Build the peers, try all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/reports/loss-of-peers.md")
    options = parser.parse_args()
    compared = all_peers()
    before = os.getloadavg()[0]
    costs = measure(compared, options.tries)
    busy = f"{before:.1f} before the first try, {os.getloadavg()[0]:.1f} after the last"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(Engine("peers"), compared, costs, busy))


if __name__ == "__main__":
    main()
