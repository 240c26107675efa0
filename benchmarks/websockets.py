"""Measure WebSockets: how many a container carries, what each costs, how fast echoes are, and what
a reload and a stop lose.

    python -m benchmarks.websockets
"""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import common
from benchmarks.measure import Cgroup
from tests.support.harness import Container, Engine, command_in_netns, wait_for
from tests.support.servers import SERVERS
from tests.support.web_sockets import Talk, write_app

MB = 1 << 20
LIMIT = "512m"
# Clients that only stay; and those for which there is no place.
IDLE, REFUSED = 10_000.0, 10
SOCKETS, RELOADS = 1000, 5
# Sockets of the measurement of latency, seconds between two messages of each, and seconds.
TALKING, PAUSE, SECONDS = 200, 1.0, 20
LOAD = ["wrk", "-t1", "-c64", f"-d{SECONDS}s", "--timeout", "10s"]


def start(engine: Engine, folder: Path, name: str, **env: str) -> Container:
    """A container with two CPUs and 512 MB."""
    container = engine.run(
        server=SERVERS[name],
        app=folder,
        env={"ACCESS_LOG": "0", **env},
        mem_limit=LIMIT,
        nano_cpus=2_000_000_000,
        ulimits=[],
    )
    container.wait_until_serving()
    return container


def in_use(container: Container) -> int:
    """Bytes that the kernel counts for the container, without what it can drop."""
    counted = container.docker.stats(stream=False, one_shot=True)["memory_stats"]
    stats = counted["stats"]
    return int(counted["usage"]) - int(stats.get("total_inactive_file", stats.get("inactive_file")))


def carried(engine: Engine, folder: Path, name: str) -> list[str]:
    """How many WebSockets a container carries, and the memory of each."""
    container = start(engine, folder, name)
    time.sleep(3)
    before, cpu = in_use(container), Cgroup(container.pid)
    _, configuration = container.execute("cat", "/run/docker-flask/nginx.conf")
    (limit,) = re.findall(r"limit_conn websockets (\d+);", configuration)
    with Talk(container, int(limit) + REFUSED, IDLE) as talk:

        def full() -> bool:
            counts = talk.look()
            return counts["open"] == int(limit) and counts["refused"].get("503", 0) > REFUSED

        wait_for(full, 120, "all places to be taken", every=0.5)
        time.sleep(3)
        counts, used = talk.look(), in_use(container)
        begun = cpu.cpu()
        time.sleep(5)
        rate = (cpu.cpu() - begun) / 5
        hello = time.monotonic()
        assert container.get("/").text == "hello"
        hello = time.monotonic() - hello
        number = counts["open"]
        code, took = container.stop()
    cost = (used - before) / number / 1024
    return [
        f"{number}",
        f"{cost:.0f} KB",
        f"{used / MB:.0f} MB",
        f"{rate:.2f}",
        f"{hello * 1000:.0f} ms",
        f"{took:.1f} s, code {code}",
    ]


def latency(engine: Engine, folder: Path, name: str, path: str = "") -> list[str]:
    """Percentiles of the time of an echo; path: of requests beside, as fast as possible."""
    container = start(engine, folder, name)
    with Talk(container, TALKING, PAUSE) as talk:
        time.sleep(5)
        skipped = len(talk.look()["latencies"])
        command = [*LOAD, f"http://127.0.0.1{path}"] if path else ["sleep", str(SECONDS)]
        done = subprocess.run(
            command_in_netns(container.pid, command), capture_output=True, text=True, check=True
        )
        times = sorted(talk.look()["latencies"][skipped:])
    rate = re.search(r"Requests/sec: *(.*)", done.stdout)
    longest = (statistics.median(times), times[len(times) * 99 // 100], times[-1])
    return [
        f"{rate[1] if rate else 0} requests/s",
        f"{len(times):,}",
        *(f"{seconds * 1000:.1f} ms" for seconds in longest),
    ]


def loaded_latency(engine: Engine, folder: Path, name: str) -> list[str]:
    """The same beside requests."""
    return latency(engine, folder, name, "/")


def reloads(engine: Engine, folder: Path, name: str) -> list[str]:
    """What 1,000 clients that talk see of five reloads and a stop."""
    env = {"WEBSOCKET_RELOAD_TIMEOUT": "5", "WEBSOCKETS": "1500"}
    container = start(engine, folder, name, **env)
    with Talk(container, SOCKETS, PAUSE) as talk:
        wait_for(lambda: talk.look()["open"] >= SOCKETS, 60, "all clients", every=0.5)
        for _ in range(RELOADS):
            assert container.execute("docker-flask", "reload")[0] == 0
            time.sleep(12)
            wait_for(lambda: talk.look()["open"] >= SOCKETS, 60, "all clients", every=0.5)
        code, _ = container.stop()
        time.sleep(1)
    counts = talk.counts
    closed = ", ".join(f"{count:,} with {code}" for code, count in counts["closed"].items())
    names = ("opened", "echoes", "lost", "cut")
    return [*(f"{counts[one]:,}" for one in names), closed, f"{counts['unanswered']}", f"{code}"]


# What is measured, and the columns behind that of the server.
ROWS: dict[str, tuple[Callable[[Engine, Path, str], list[str]], tuple[str, ...]]] = {
    "carried": (
        carried,
        ("open, the next gets 503", "each", "in use", "CPUs", "a request", "stop"),
    ),
    "latency": (latency, ("beside", "echoes", "p50", "p99", "longest")),
    "latency beside load": (loaded_latency, ("beside", "echoes", "p50", "p99", "longest")),
    "reloads": (
        reloads,
        (
            "opened",
            "echoes",
            "lost",
            "without close frame",
            "closed",
            "crossed the close frame",
            "exit code",
        ),
    ),
}


def main() -> None:
    """Print the tables."""
    parser = common.parser(__doc__)
    servers = ["uwsgi", "gunicorn-gthread", "gunicorn-gevent"]
    parser.add_argument("--servers", nargs="+", choices=servers, default=servers)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    with common.engine("websockets") as engine, common.folder() as folder:
        print(f"{common.about(engine)} The container has 2 CPUs and {LIMIT}.")
        write_app(folder)
        for name in options.rows:
            measure, columns = ROWS[name]
            common.print_head(name, *columns)
            for server in options.servers:
                common.print_row(server, *measure(engine, folder, server))
                engine.remove_containers()


if __name__ == "__main__":
    main()
