"""Measure WebSockets: how many a container carries, what each costs, how fast echoes are, and what
a reload and a stop lose.

    python -m benchmarks.websockets
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Cgroup
from tests.support.harness import Container, Engine, wait_for
from tests.support.loss_checker.netns import command_in_netns
from tests.support.servers import SERVERS
from tests.support.web_sockets import Talk, write_app

MB = 1 << 20
LIMIT = "512m"
# Clients that only stay; and those for which there is no place.
IDLE, REFUSED = 10_000.0, 10
SOCKETS, RELOADS = 1000, 5
# Sockets of the measurement of latency, seconds between two messages of each, and seconds.
TALKING, PAUSE, SECONDS = 200, 1.0, 20
LOAD = ["wrk", "-t1", "-c64", f"-d{SECONDS}s", "--timeout", "10s", "http://127.0.0.1/"]


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


def carried(engine: Engine, folder: Path, name: str) -> str:
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
    return (
        f"| {name} | {number} | {cost:.0f} KB | {used / MB:.0f} MB | {rate:.2f} | "
        f"{hello * 1000:.0f} ms | {took:.1f} s, code {code} |"
    )


def latency(engine: Engine, folder: Path, name: str, loaded: bool) -> str:
    """Percentiles of the time of an echo."""
    container = start(engine, folder, name)
    with Talk(container, TALKING, PAUSE) as talk:
        time.sleep(5)
        skipped = len(talk.look()["latencies"])
        out = ""
        if loaded:
            out = subprocess.run(
                command_in_netns(container.pid, LOAD), capture_output=True, text=True, check=True
            ).stdout
        else:
            time.sleep(SECONDS)
        times = sorted(talk.look()["latencies"][skipped:])
    p50, p99 = statistics.median(times), times[len(times) * 99 // 100]
    rate = next((line.split()[1] for line in out.splitlines() if "Requests/sec" in line), "0")
    return (
        f"| {name} | {float(rate):,.0f} | {len(times):,} | {p50 * 1000:.1f} ms | "
        f"{p99 * 1000:.0f} ms | {times[-1] * 1000:.0f} ms |"
    )


def reloads(engine: Engine, folder: Path, name: str) -> str:
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
    return (
        f"| {name} | {counts['opened']:,} | {counts['echoes']:,} | {counts['lost']} | "
        f"{counts['cut']} | {closed} | {counts['unanswered']} | {code} |"
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="uwsgi,gunicorn-gthread,gunicorn-gevent")
    parser.add_argument("--rows", default="carried,latency,reloads")
    options = parser.parse_args()
    servers, rows = options.servers.split(","), options.rows.split(",")
    engine = Engine("websockets")
    print(f"On {platform.machine()} with {os.cpu_count()} CPUs; the container has 2 and {LIMIT}.\n")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_app(folder)
            if "carried" in rows:
                print(
                    "| server | open, the next gets 503 | each | in use | CPUs | a request | stop |"
                )
                print("|---|---|---|---|---|---|---|")
                for server in servers:
                    print(carried(engine, folder, server), flush=True)
                    engine.remove_containers()
            if "latency" in rows:
                print("\n| server | requests/s beside | echoes | p50 | p99 | longest |")
                print("|---|---|---|---|---|---|")
                for server in servers:
                    for loaded in (False, True):
                        print(latency(engine, folder, server, loaded), flush=True)
                        engine.remove_containers()
            if "reloads" in rows:
                print(
                    "\n| server | opened | echoes | lost | without close frame | closed | ", end=""
                )
                print("crossed the close frame | exit code |\n|---|---|---|---|---|---|---|---|")
                for server in servers:
                    print(reloads(engine, folder, server), flush=True)
                    engine.remove_containers()
    finally:
        engine.remove_containers()


if __name__ == "__main__":
    main()
