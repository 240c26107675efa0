"""One large container, or many small ones, behind a balancer: `make measure WHAT=replicas`.

Each arrangement has four workers of four threads and serves the same load through HAProxy: fast
requests and some that wait. Then one container is killed, and then all are replaced one by one.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import common
from benchmarks.measure import Cgroup
from tests.support.harness import IMAGE, Container, Engine, wait_for
from tests.support.loss import RECORDING_APP, Load
from tests.support.loss_checker.result import Result
from tests.support.swarm import programs

NAME = "web"  # of all replicas in the network
FAST, SLOW = 200, 10  # requests/s
SLOW_SECONDS = 0.3
# Seconds that HAProxy gets to see a new replica, and a client to answer what is under way.
SETTLE = 2.0
HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option redispatch
resolvers engine
    nameserver dns 127.0.0.11:53
    hold valid 200ms
    hold obsolete 0s
    timeout resolve 200ms
frontend all
    bind :80
    default_backend replicas
backend replicas
    balance leastconn
    option httpchk GET {path}
    # Three in a row: a replica that needs longer than 200 ms for one check is busy, not down.
    default-server check port {port} inter 200ms fall 3 rise 1 resolvers engine init-addr none
    server-template web 8 web:80
"""


class Arrangement(NamedTuple):
    """containers: how many; workers: in each; peer: a folder of peers/, empty for this image."""

    name: str
    containers: int
    workers: int
    peer: str = ""

    @property
    def check(self) -> tuple[str, int]:
        """What the load balancer asks: path and port."""
        return ("/", 80) if self.peer else ("/ready", 9180)


ARRANGEMENTS = (
    Arrangement("1 container of 4 workers", 1, 4),
    Arrangement("4 containers of 1 worker", 4, 1),
    Arrangement("4 containers of Gunicorn alone, 1 worker", 4, 1, "gunicorn-gthread"),
)


class Site:
    """Replicas of one arrangement behind HAProxy."""

    def __init__(
        self, arrangement: Arrangement, engine: Engine, folder: Path, haproxy: str
    ) -> None:
        self._arrangement, self._engine, self._folder = arrangement, engine, folder
        self._image = common.build_peer(arrangement.peer) if arrangement.peer else IMAGE
        self._network = engine.client.networks.create(f"replicas-{secrets.token_hex(4)}")
        (folder / "record").mkdir(mode=0o777)
        (folder / "record").chmod(0o1777)
        (folder / "app.py").write_text(RECORDING_APP.read_text())
        path, port = arrangement.check
        (folder / "haproxy.cfg").write_text(HAPROXY.format(path=path, port=port))
        self.replicas = [self.add() for _ in range(arrangement.containers)]
        self.balancer = engine.run(
            ["haproxy", "-f", "/haproxy.cfg"],
            image=haproxy,
            volumes={str(folder / "haproxy.cfg"): {"bind": "/haproxy.cfg", "mode": "ro"}},
            network=self._network.name,
        )
        self.balancer.wait_until_serving()
        time.sleep(SETTLE)

    def add(self) -> Container:
        """Start a replica, and wait until it is ready."""
        container = self._engine.run(
            image=self._image,
            env={
                "WEB_CONCURRENCY": str(self._arrangement.workers),
                "THREADS": "4",
                "RECORD_DIR": "/record",
                # HAProxy sees the 503 of /ready after 200 ms; the peer knows no such setting.
                "DRAIN_DELAY": "1",
            },
            volumes={
                str(self._folder / "app.py"): {"bind": "/app/app.py", "mode": "ro"},
                str(self._folder / "record"): {"bind": "/record", "mode": "rw"},
            },
            ports={},
        )
        path, port = self._arrangement.check
        container.docker.reload()
        address = container.docker.attrs["NetworkSettings"]["IPAddress"]

        wait_for(lambda: common.serves(f"http://{address}:{port}{path}"), 30, "a replica")
        self._network.connect(container.docker, aliases=[NAME])
        return container

    def close(self) -> None:
        """Remove everything."""
        self._engine.remove_containers()
        self._network.remove()

    def load(self, path: str, rate: int) -> Load:
        """Numbered requests at a steady rate."""
        out = self._folder / f"load-{secrets.token_hex(4)}.json"
        return Load(self.balancer, out, path, mode="new", rate=rate, no_echo=True, seconds=120)

    def cpu(self) -> float:
        return sum(Cgroup(replica.pid).cpu() for replica in self.replicas)

    def memory(self) -> float:
        return sum(Cgroup(replica.pid).memory() for replica in self.replicas)


def lost(result: Result) -> tuple[int, float]:
    """Requests without a good response, and the seconds from the first to the last of them."""
    bad = [record.start for record in result.records if record.verdict != "ok"]
    return len(bad), max(bad) - min(bad) if bad else 0.0


def measure(site: Site, seconds: float) -> dict[str, float]:
    """One round of one arrangement."""
    before = site.cpu()
    with (
        site.load("/", FAST) as fast,
        site.load(f"/sleep?s={SLOW_SECONDS}", SLOW) as slow,
    ):
        time.sleep(seconds)
        quick, waiting = fast.finish(), slow.finish()
    answered = quick.counts["ok"] + waiting.counts["ok"]
    found = {
        "fast p50 ms": quick.percentile(50) or 0.0,
        "fast p99 ms": quick.percentile(99) or 0.0,
        "CPU µs/request": (site.cpu() - before) / answered * 1e6,
        "PSS MB": site.memory(),
        "errors": len(quick.records) + len(waiting.records) - answered,
    }
    with site.load("/", FAST) as running:
        time.sleep(SETTLE)
        site.replicas[0].docker.kill()
        site.replicas[0].docker.start()
        site.balancer.wait_until_serving()
        time.sleep(2 * SETTLE)
        found["killed: lost"], found["killed: seconds"] = lost(running.finish())
    with site.load("/", FAST) as running:
        time.sleep(SETTLE)
        begun = time.monotonic()
        for number, old in enumerate(site.replicas):
            site.replicas[number] = site.add()
            time.sleep(SETTLE)
            old.stop()
        found["roll-out: seconds"] = time.monotonic() - begun
        time.sleep(SETTLE)
        found["roll-out: lost"], _ = lost(running.finish())
    return found


def main() -> None:
    """Measure all arrangements in turns, and print a table."""
    options = common.parser(__doc__, rounds=3, seconds=10).parse_args()
    rows: dict[str, list[dict[str, float]]] = {one.name: [] for one in ARRANGEMENTS}
    with common.engine("replicas") as engine, programs(engine) as image:
        for number in range(options.rounds):
            for one in ARRANGEMENTS:
                with common.folder() as folder:
                    site = Site(one, engine.part(), folder, image)
                    try:
                        rows[one.name].append(measure(site, options.seconds))
                    finally:
                        site.close()
                common.report(f"round {number + 1}, {one.name}: {rows[one.name][-1]}")
        print(common.about(engine))
    headings = list(rows[ARRANGEMENTS[0].name][0])
    common.print_head("", *headings)
    for name, samples in rows.items():
        cells = (f"{median(sample[heading] for sample in samples):.4g}" for heading in headings)
        common.print_row(name, *cells)


if __name__ == "__main__":
    main()
