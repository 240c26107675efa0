"""Rolls versions out on a Swarm of three engines, and counts what is lost: `make rollouts`.

The stack is deploy/swarm.yaml, the balancer in front of it deploy/haproxy.cfg. Its clients number
each request and never retry one.

    python -m benchmarks.rollouts --rows update scale
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import common
from tests.support.harness import IMAGE, Engine, wait_for
from tests.support.loss import RECORDING_APP, Load
from tests.support.loss_checker.record import read_record, upper_bound
from tests.support.loss_checker.result import Record, Result, Verdict
from tests.support.swarm import Node, Swarm, programs

LOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "new": ("/", {"mode": "new", "rate": 80}),
    "kept": ("/", {"mode": "keepalive", "rate": 80}),
    "post": ("/", {"mode": "new", "rate": 20, "method": "POST", "body_bytes": 100}),
    "slow": ("/sleep?s=1", {"mode": "new", "rate": 5}),
    "slow, kept": ("/sleep?s=0.3", {"mode": "keepalive", "rate": 10}),
}
# Seconds of load before something is done, and after it.
SETTLE = 2.0
# Seconds for which something stops; until HAProxy and Swarm have seen that something ended.
FROZEN, RECOVERY = 20, 10
# How long Swarm watches a new version, in seconds. deploy/swarm.yaml has more.
MONITOR = 5
OVERRIDE = """\
version: "3.8"
services:
  web:
    image: {image}
    environment:
      RECORD_DIR: /record/{version}
      APP_VERSION: "{version}"
    volumes:
      - {folder}/apps/{version}:/app:ro
      - {folder}/record:/record
    deploy:
      update_config:
        monitor: {monitor}s
"""


@dataclass
class Row:
    """What one thing cost, over all its tries."""

    done: str
    tries: int = 0
    requests: int = 0
    lost: int = 0
    unavailable: int = 0
    backwards: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, result: Result, versions: dict[str, int]) -> None:
        """Count one try."""
        bad = [record for record in result.records if record.verdict != Verdict.OK]
        self.tries += 1
        self.requests += len(result.records)
        self.lost += len(bad)
        self.unavailable += sum(record.status in (502, 503) for record in bad)
        self.backwards += backwards(result, versions)
        print(self.done, result.counts, flush=True)
        for record in bad[:10]:
            print("  ", record, flush=True)

    def cells(self) -> list[str]:
        """The row of the table."""
        took = f"{statistics.median(self.seconds):.1f} s" if self.seconds else "-"
        bound = f"{upper_bound(self.lost, self.requests):.1e}" if self.requests else "-"
        numbers = (self.tries, self.requests, self.lost, self.unavailable, self.backwards)
        return [self.done, *(f"{number:,}" for number in numbers), bound, took]


COLUMNS = (
    "Done",
    "Tries",
    "Requests",
    "Lost",
    "of them 502 or 503",
    "Version 1 after 2",
    "Bound of the share lost (95 %)",
    "A roll-out took",
)


def backwards(result: Result, versions: dict[str, int]) -> int:
    """Responses of an older version after one of a newer version on the same connection."""
    newest: dict[tuple[str, int], int] = {}
    found = 0
    for record in sorted(result.records, key=lambda record: record.end):
        if record.verdict == Verdict.OK:
            connection = record.id.partition("-")[0], record.port
            version = versions[record.id]
            found += record.reused and version < newest[connection]
            newest[connection] = max(version, newest[connection] if record.reused else 0)
    return found


class Site:
    """The checked application in several versions on a Swarm, and its record."""

    def __init__(self, engine: Engine, image: str, folder: Path, nodes: int = 6) -> None:
        self.folder = folder
        self._loads = 0
        self.version = 0
        (folder / "record").mkdir()
        self.swarm = Swarm(engine, image, folder, nodes)
        self.swarm.manager.secrets.create(name="flaskapp_secret_key", data=b"a secret")
        self.roll_out()
        self.swarm.balancer.wait_until_serving(seconds=30)

    def deploy(self, code: str = "", changes: str = "") -> None:
        """Begin to roll out the next version.

        code: what its application does in addition; changes: lines of the stack's service.
        """
        self.version += 1
        app = self.folder / f"apps/{self.version}"
        app.mkdir(parents=True)
        (app / "app.py").write_text(RECORDING_APP.read_text() + code)
        record = self.folder / f"record/{self.version}"
        record.mkdir()
        record.chmod(0o1777)
        values = {"version": self.version, "folder": self.folder, "monitor": MONITOR}
        self.swarm.deploy(OVERRIDE.format(image=IMAGE, **values) + changes)

    def roll_out(self) -> float:
        """Roll out the next version; returns the seconds until no task has another one."""
        begun = time.monotonic()
        self.deploy()
        wait_for(self.has_one_version, 180, f"version {self.version} in all tasks")
        took = time.monotonic() - begun
        wait_for(lambda: self.swarm.update() in ("", "completed"), 120, "the end of the update")
        return took

    def has_one_version(self) -> bool:
        """True if the service has all its tasks, and all of them have the last version."""
        wanted = f"APP_VERSION={self.version}"
        tasks = self.swarm.tasks()
        return len(tasks) == self.swarm.replicas() and all(
            wanted in task["Spec"]["ContainerSpec"]["Env"] for task in tasks
        )

    def scale(self, replicas: int) -> None:
        """Change the number of tasks, and wait for it."""
        self.swarm.service().scale(replicas)
        wait_for(lambda: len(self.swarm.tasks()) == replicas, 120, f"{replicas} tasks")

    def victim(self) -> Node:
        """A node with a task that is not the manager, so that Swarm can replace the task."""
        return next(node for node in self.swarm.nodes[1:] if node.web())

    @contextmanager
    def load(self, row: Row) -> Iterator[list[Record]]:
        """Count what a mixed load sees meanwhile; the list has all requests in the end."""
        seen: list[Record] = []
        with ExitStack() as stack:
            running = []
            for path, options in LOADS.values():
                self._loads += 1
                out = self.folder / f"load{self._loads}.json"
                load = Load(self.swarm.balancer, out, path, seconds=600, **options)
                running.append(stack.enter_context(load))
            time.sleep(SETTLE)
            yield seen
            time.sleep(SETTLE)
            first, *others = [load.finish() for load in running]
        result = first.merge(*others)
        seen += result.records
        row.add(result, self.versions())

    def versions(self) -> dict[str, int]:
        """Which version each request came to."""
        return {
            ident: int(folder.name)
            for folder in (self.folder / "record").iterdir()
            for ident in read_record(folder).starts
        }


def update(site: Site, tries: int) -> list[Row]:
    """Rolling updates."""
    row = Row("rolling update of 2 tasks")
    for _ in range(tries):
        with site.load(row):
            row.seconds.append(site.roll_out())
    return [row]


SICK = """
    healthcheck: {test: ["CMD", "false"], interval: 1s, retries: 2, start_period: 1s}
"""
BROKEN = {
    "update to a version that can't start": ("raise RuntimeError('broken')", ""),
    "update to a version whose health check fails": ("", SICK),
}


def rollback(site: Site, tries: int) -> list[Row]:
    """Updates that Swarm takes back."""
    rows = [Row(what) for what in BROKEN]
    for row, (code, changes) in zip(rows, BROKEN.values(), strict=True):
        for _ in range(tries):
            with site.load(row):
                begun = time.monotonic()
                site.deploy(code, changes)
                wait_for(lambda: site.swarm.update() == "rollback_completed", 180, "the rollback")
                row.seconds.append(time.monotonic() - begun)
            site.roll_out()
    return rows


def scale(site: Site, tries: int) -> list[Row]:
    """More tasks, and fewer."""
    row = Row("2 tasks, then 6, then 2")
    for _ in range(tries):
        with site.load(row):
            for replicas in (6, 2):
                site.scale(replicas)
                time.sleep(SETTLE)
    return [row]


def kill_task(node: Node) -> None:
    """End a task's container, as if its memory had run out."""
    node.web()[0].kill()


def stop_engine(node: Node) -> None:
    """Stop the engine's process; its containers run on."""
    pid = node.engine_pid()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(FROZEN)
    os.kill(pid, signal.SIGCONT)


def kill_engine(node: Node) -> None:
    """Kill the engine's process, which starts again, as by systemd."""
    os.kill(node.engine_pid(), signal.SIGKILL)


def kill_machine(node: Node) -> None:
    """Kill all processes of a node."""
    node.container.execute("bash", "-c", "kill -9 -1")


def freeze_machine(node: Node) -> None:
    """Stop all processes of a node."""
    node.container.docker.pause()
    time.sleep(FROZEN)
    node.container.docker.unpause()


FAILURES: dict[str, Callable[[Node], None]] = {
    "1 of 2 tasks: `kill -9`": kill_task,
    f"engine of one node: `kill -STOP` for {FROZEN} s": stop_engine,
    "engine of one node: `kill -9`": kill_engine,
    "all processes of one node: `kill -9`": kill_machine,
    f"all processes of one node: stopped for {FROZEN} s": freeze_machine,
}


def failures(site: Site, tries: int) -> list[Row]:
    """What ends without a signal that it could handle."""
    rows = [Row(what) for what in FAILURES]
    for row, fail in zip(rows, FAILURES.values(), strict=True):
        for _ in range(tries):
            with site.load(row) as seen:
                begun = time.monotonic()
                fail(site.victim())
                time.sleep(RECOVERY)
                wait_for(lambda: len(site.swarm.tasks()) == 2, 120, "both tasks")
            lost = [record for record in seen if record.verdict != Verdict.OK]
            under_way = sum(record.start <= begun < record.end for record in seen)
            last = max((record.start for record in lost), default=begun) - begun
            print(
                f"lost {len(lost)}, the last {last:.1f} s after; {under_way} under way", flush=True
            )
    return rows


ROWS: dict[str, tuple[Callable[[Site, int], list[Row]], int]] = {
    "update": (update, 20),
    "rollback": (rollback, 3),
    "scale": (scale, 5),
    "failures": (failures, 3),
}


def main() -> None:
    """Do what each row says, and print a table."""
    parser = common.parser(__doc__, tries=0)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    rows = []
    with (
        common.engine("rollouts") as engine,
        programs(engine) as image,
        common.folder() as folder,
    ):
        site = Site(engine, image, folder)
        for name in options.rows:
            measure, tries = ROWS[name]
            rows.extend(measure(site, options.tries or tries))
        engine.remove_containers()
    common.print_head(*COLUMNS)
    for row in rows:
        common.print_row(*row.cells())


if __name__ == "__main__":
    main()
