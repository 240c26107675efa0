"""Does to other ways of serving Flask what `make soak` does: `make measure WHAT=peers`.

Each thing is done to each image as its own users run it, under the load of the same client, and
counted the same way.

    python -m benchmarks.peers --tries 2 --only "1 stop"
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import common
from benchmarks.contestants import versions
from benchmarks.measure import rest
from benchmarks.soak import COLUMNS, KEPT, NEW, Deed, Tally, kills, stop_under, stop_with
from tests.support.harness import IMAGE, Engine
from tests.support.loss import Service
from tests.support.loss_checker.record import Verdicts
from tests.support.loss_checker.result import Result
from tests.support.servers import SERVERS

KILLS_A_CONTAINER = 10  # of workers, one after another
NGINX = "nginx: (master|worker)"


class Peer(NamedTuple):
    """app, front: how the command lines of the application server and of nginx begin, if any."""

    name: str
    image: str
    app: str
    front: str | None


class PeerService(Service):
    """A peer that serves the recording application. Its processes are seen from the host."""

    def __init__(self, engine: Engine, folder: Path, peer: Peer) -> None:
        super().__init__(engine, folder, image=peer.image)
        self.peer = peer

    def verdicts(self, *results: Result, ended_by_itself: bool = False) -> Verdicts:
        """Join what clients and application noted, without a log: not all have one."""
        return super().verdicts(*results)

    def processes(self, role: str) -> list[int]:
        """Pids, as the host numbers them, of "app master", "app worker", "nginx master", ...

        A worker's parent matches the same pattern; a master's does not.
        """
        if not self.container.running():
            return []
        pattern = (self.peer.front if role.startswith("nginx") else self.peer.app) or "$"
        rows = self.container.docker.top(ps_args="-eo pid,ppid,args")["Processes"]
        found = {int(pid): int(parent) for pid, parent, line in rows if re.match(pattern, line)}
        is_worker = role.endswith("worker")
        return sorted(pid for pid, parent in found.items() if (parent in found) is is_worker)

    def signal(self, name: str, *pids: int) -> None:
        """Send a signal from the host: inside, nobody can kill process 1, but the kernel does."""
        for pid in pids:
            os.kill(pid, signal.Signals[f"SIG{name}"])


def nothing(load: dict[str, Any]) -> Deed:
    """A second of load, to see what is lost without anything being done."""

    def once(service: Service, tally: Tally) -> None:
        with service.load(seconds=1, **load) as running:
            tally.add(1, service.verdicts(running.wait(30)))

    return once


# Things that are done, and the process that a peer must have.
ROWS: dict[str, tuple[Deed, str]] = {
    "0 nothing, new connections": (nothing(NEW), ""),
    "0 nothing, keep-alive": (nothing(KEPT), ""),
    "1 stop, new connections": (stop_under(NEW), ""),
    "1 stop, keep-alive": (stop_under(KEPT), ""),
    "2 stop, request of 6 s": (stop_with("/sleep?s=6"), ""),
    "3 stop, request that hangs": (stop_with("/hang"), ""),
    "3 stop, endless stream": (stop_with("/sse"), ""),
    "8 app worker killed, GET": (kills("app worker", KILLS_A_CONTAINER), ""),
    "8 app worker killed, POST": (kills("app worker", KILLS_A_CONTAINER, method="POST"), ""),
    # Long enough that a worker has a request most of the time, and few enough for three workers.
    "8 app worker killed, GET of 0.1 s": (kills("app worker", 1, 20, "/sleep?s=0.1"), ""),
    **{
        f"9 {role} killed": (kills(role, 1), role)
        for role in ("app master", "nginx master", "nginx worker")
    },
}


def repeat(engine: Engine, peer: Peer, deed: Deed, tries: int) -> Tally:
    """One row of one peer: each time on a new container."""
    tally = Tally()
    while tally.tries < tries:
        with common.folder() as folder:
            service = PeerService(engine, folder, peer)
            service.container.wait_until_serving()
            rest(service.container)
            deed(service, tally)
            engine.remove_containers()
    return tally


def main() -> None:
    """Build the peers, try all of it, and print the table."""
    parser = common.parser(__doc__, tries=10)
    parser.add_argument("--only", default="", help="rows whose names begin so")
    options = parser.parse_args()
    uwsgi, gunicorn = SERVERS["uwsgi"], r"\S*python\S* \S*/gunicorn "
    peers = [
        Peer("ours", IMAGE, f"{uwsgi.master}|{uwsgi.worker}", NGINX),
        # Nothing renames the processes of the others: a master has its workers' command line.
        Peer("tutorial", common.build_peer("tutorial"), "uwsgi --ini", NGINX),
        Peer("gunicorn-gevent", common.build_peer("gunicorn-gevent"), gunicorn, None),
    ]
    with common.engine("peers") as engine:
        print(common.about(engine), *(f"{peer.name}: {versions(peer.image)}." for peer in peers))
        common.print_head("done", "image", *COLUMNS)
        for name, (deed, role) in ROWS.items():
            for peer in peers:
                if name.startswith(options.only) and (peer.front or not role.startswith("nginx")):
                    tally = repeat(engine, peer, deed, options.tries)
                    common.print_row(name, peer.name, *tally.cells())
                    common.report(set(tally.failures) or "no failure")


if __name__ == "__main__":
    main()
