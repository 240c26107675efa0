"""One contestant's container: start it, load it, and read what that cost.

The load comes from inside the container's network, so that nothing stands in between, but from
outside its cgroup, so that only the container's own work is counted.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.contestants import Contestant
from tests.support.harness import Container, Engine, wait_for
from tests.support.loss import Load
from tests.support.loss_checker.netns import command_in_netns
from tests.support.loss_checker.result import Result, Verdict, percentile

HERE = Path(__file__).parent

# What was measured once: a column's heading and the number below it.
Sample = dict[str, float]
RATE, CPU, P50, P99 = "requests/s", "CPU µs/request", "p50 ms", "p99 ms"
ERRORS, MEMORY, SPEED = "errors", "PSS MB", "MB/s"

CPUS, MEMORY_LIMIT = min(2, os.cpu_count() or 1), "512m"
START_SECONDS = 60
LOG_CHARACTERS = 500  # of a container that ended
WARM_SECONDS, WARM_CONNECTIONS = 1, 16
PATIENCE = "10s"  # of wrk, for one answer
TIMEOUT = 5  # s, of a request at a steady rate
PERCENTS = (50, 90, 99)
DOWNLOAD_SECONDS = 300
# At rest: less than a tenth of a CPU for this long (s).
REST_SECONDS, REST_SHARE = 0.3, 0.1
FILE_BYTES = 100_000_000
SLOW_BYTES_A_SECOND = 20_000_000


class Cgroup:
    """What the kernel counts of a container, by version 1 or 2 of its control groups."""

    def __init__(self, pid: int) -> None:
        folders: dict[int, Path] = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "cpuacct" in controllers.split(","):
                folders[1] = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
            elif not controllers:
                folders[2] = Path("/sys/fs/cgroup", path.lstrip("/"))
        self._version = min(folders)
        self._folder = folders[self._version]

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        if self._version == 1:
            return int((self._folder / "cpuacct.usage").read_text()) / 1e9
        words = (self._folder / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    def memory(self) -> float:
        """MB of all processes, where a page that several share counts once (PSS)."""
        kilobytes = 0
        for pid in (self._folder / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it has ended meanwhile
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kilobytes * 1024 / 1e6


class Serving:
    """A container that serves the application."""

    def __init__(self, container: Container, folder: Path, begun: float) -> None:
        self.container = container
        self.pid = container.pid
        if not self.pid:
            raise self._ended()
        self.cgroup = Cgroup(self.pid)
        self._folder = folder
        self._address = container.docker.attrs["NetworkSettings"]["IPAddress"]
        wait_for(self._answers, START_SECONDS, "the first 200", every=0.005)
        self.started_in = time.monotonic() - begun

    def rest(self) -> None:
        """Wait until it does nothing, so that every worker is loaded."""

        def rests() -> bool:
            before = self.cgroup.cpu()
            time.sleep(REST_SECONDS)
            return self.cgroup.cpu() - before < REST_SHARE * REST_SECONDS

        wait_for(rests, START_SECONDS, "the container to be at rest")

    def get(self, path: str, post_bytes: int = 0) -> tuple[int, bytes]:
        """The answer to one request: status and body."""
        connection = http.client.HTTPConnection(self._address, timeout=10)
        method, body = ("POST", b"x" * post_bytes) if post_bytes else ("GET", None)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def load(self, path: str, seconds: float, connections: int = 64, post_bytes: int = 0) -> Sample:
        """As many requests as it can answer on so many kept connections."""
        self._warm(path, min(connections, WARM_CONNECTIONS), post_bytes)
        before = self.cgroup.cpu()
        result = self._wrk(path, seconds, connections, post_bytes)
        cpu = self.cgroup.cpu() - before
        good = result["requests"] - result["refused"]
        return {
            RATE: good / result["seconds"],
            **({CPU: cpu / good * 1e6} if good else {}),
            P50: result["p50"],
            P99: result["p99"],
            ERRORS: result["refused"] + result["failed"],
            MEMORY: self.cgroup.memory(),
        }

    def load_at(self, rate: int, path: str, seconds: float) -> Sample:
        """So many requests a second, due at fixed times, whatever the server does."""
        self._warm(path)
        before = self.cgroup.cpu()
        with self._paced(rate, path, seconds) as load:
            result = load.wait(seconds + 30)
        cpu = self.cgroup.cpu() - before
        good = result.counts["ok"]
        return {
            **{
                f"p{percent} ms": percentile(_times(result), percent) or 0.0 for percent in PERCENTS
            },
            **({CPU: cpu / good * 1e6} if good else {}),
            ERRORS: len(result.records) - good,
            "client late p99 ms": result.late_percentile(99) or 0.0,
        }

    def download(self, path: str, clients: int) -> Sample:
        """A file of FILE_BYTES by several clients, one of them slow, and a hello meanwhile."""
        words = [sys.executable, str(HERE / "download.py"), f"http://127.0.0.1{path}"]
        words += map(str, (FILE_BYTES, clients, SLOW_BYTES_A_SECOND))
        self._warm("/")
        before = self.cgroup.cpu()
        with (
            subprocess.Popen(
                command_in_netns(self.pid, words), stdout=subprocess.PIPE, text=True
            ) as process,
            self._paced(50, "/", DOWNLOAD_SECONDS) as load,
        ):
            time.sleep(1)
            memory = self.cgroup.memory()
            output, _ = process.communicate(timeout=DOWNLOAD_SECONDS)
            hello = load.finish()
        found = json.loads(output)
        return {
            SPEED: found["speed"] / 1e6,
            "CPU ms/file": (self.cgroup.cpu() - before) / clients * 1e3,
            "hello meanwhile, p99 ms": percentile(_times(hello), 99) or 0.0,
            ERRORS: found["errors"] + len(hello.records) - hello.counts["ok"],
            MEMORY: memory,
        }

    def _warm(self, path: str, connections: int = WARM_CONNECTIONS, post_bytes: int = 0) -> None:
        """See that the answer is right, and have every worker give it.

        On few connections, as what they leave in a queue would be answered in the measured time.
        """
        self.rest()
        status, body = self.get(path, post_bytes)
        if (status, body) != (200, _bodies.setdefault(path, body)):
            raise RuntimeError(f"{path} is answered with {status} and {len(body)} other bytes")
        self._wrk(path, WARM_SECONDS, connections, post_bytes)
        self.rest()

    def _paced(self, rate: int, path: str, seconds: float) -> Load:
        out = self._folder / "load.json"
        options = {"mode": "keepalive", "rate": rate, "timeout": TIMEOUT, "no_echo": True}
        return Load(self.container, out, path, seconds=seconds, **options)

    def _answers(self) -> bool:
        if not Path(f"/proc/{self.pid}").exists():
            raise self._ended()
        try:
            return self.get("/")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _ended(self) -> RuntimeError:
        log = self.container.logs().strip()[-LOG_CHARACTERS:]
        return RuntimeError(f"the container ended: {log}")

    def _wrk(self, path: str, seconds: float, connections: int, post_bytes: int) -> Sample:
        words = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{math.ceil(seconds)}s"]
        words += ["--timeout", PATIENCE, "-s", str(HERE / "wrk.lua"), f"http://127.0.0.1{path}"]
        words += ["--", str(post_bytes)] if post_bytes else []
        done = subprocess.run(
            command_in_netns(self.pid, words),
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + 60,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])


class Looping(Serving):
    """A container that calls the application itself; there is nothing else that could be asked."""

    def _answers(self) -> bool:
        return True

    def load(self, path: str, seconds: float, connections: int = 64, post_bytes: int = 0) -> Sample:
        """Call the application for so long."""
        words = ["python3", "loop.py", path, str(seconds)]
        code, output = self.container.execute(*words, *([str(post_bytes)] if post_bytes else []))
        if code:
            raise RuntimeError(output)
        found = json.loads(output)
        return {
            RATE: found["calls"] / found["seconds"],
            CPU: found["cpu"] / found["calls"] * 1e6,
            ERRORS: 0,
        }


def _times(result: Result) -> list[float]:
    """Latencies in ms; what got no right answer took as long as its client would have waited."""
    return [
        one.latency_ms if one.verdict == Verdict.OK else TIMEOUT * 1e3 for one in result.records
    ]


# The first answer to each path: all contestants have to give the same.
_bodies: dict[str, bytes] = {}


@contextmanager
def serving(contestant: Contestant, image: str, app: Path, heavy: bool) -> Iterator[Serving]:
    """A fresh container of a contestant, at rest, which is removed at the end.

    app: the application's folder; heavy: with four workers that import 60 MB each.
    """
    options = {**contestant.options, **((contestant.four or {}) if heavy else {})}
    env = {**contestant.options.get("env", {}), **options.pop("env", {})}
    if heavy:
        env["BENCH_HEAVY"] = "1"
    engine = Engine(f"bench-{secrets.token_hex(4)}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            container = engine.run(
                options.pop("command", None),
                image=image,
                env=env,
                volumes={str(app): {"bind": "/app", "mode": "ro"}},
                ports={},  # nothing from outside, and no proxy of the engine's to start
                nano_cpus=int(CPUS * 1e9),
                mem_limit=MEMORY_LIMIT,
                **options,
            )
            served = (Looping if contestant.loop else Serving)(container, Path(folder), begun)
            served.rest()
            yield served
    finally:
        engine.remove_containers()
        engine.client.close()
