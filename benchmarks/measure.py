"""One contestant's container: start it, load it, and read what that cost.

The load comes from inside the container's network, so that nothing stands in between, but from
outside its cgroup, so that only the container's own work is counted.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from benchmarks import common
from benchmarks.contestants import Contestant
from tests.support.harness import NO_TLS, Container, command_in_netns, wait_for
from tests.support.loss import Load
from tests.support.loss_checker.result import Result, Verdict, percentile

HERE = Path(__file__).parent

# What was measured once: a column's heading and the number below it.
Sample = dict[str, float]
RATE, CPU, P50, P99 = "requests/s", "CPU µs/request", "p50 ms", "p99 ms"
ERRORS, MEMORY = "errors", "PSS MB"

CPUS, MEMORY_LIMIT = min(2, os.cpu_count() or 1), "512m"
START_SECONDS = 60
LOG_CHARACTERS = 500  # of a container that ended
WARM_SECONDS, WARM_CONNECTIONS = 1, 16
PATIENCE = 10  # seconds of wrk, for one answer
TIMEOUT = 5  # s, of a request at a steady rate
PERCENTS = (50, 90, 99)
# At rest: less than a tenth of a CPU for this long (s).
REST_SECONDS, REST_SHARE = 0.3, 0.1
FILE_BYTES = 100_000_000


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

    def processes(self) -> list[str]:
        """The numbers of its processes."""
        return (self._folder / "cgroup.procs").read_text().split()

    def memory(self) -> float:
        """MB of all processes, where a page that several share counts once (PSS)."""
        kilobytes = 0
        for pid in self.processes():
            with suppress(OSError):  # it has ended meanwhile
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kilobytes * 1024 / 1e6


def rest(container: Container) -> None:
    """Wait until a container does nothing: all of its workers have loaded the application."""
    cgroup = Cgroup(container.pid)

    def rests() -> bool:
        before = cgroup.cpu()
        time.sleep(REST_SECONDS)
        return cgroup.cpu() - before < REST_SHARE * REST_SECONDS

    wait_for(rests, START_SECONDS, "the container to be at rest")


class Serving:
    """A container that serves the application."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container = container
        self.pid = container.pid
        self.cgroup = Cgroup(self.pid)
        self._folder = folder
        self._url = f"http://{container.docker.attrs['NetworkSettings']['IPAddress']}"

        def answers() -> bool:
            if not container.running():
                raise RuntimeError(f"the container ended: {container.logs()[-LOG_CHARACTERS:]}")
            return common.serves(f"{self._url}/")

        wait_for(answers, START_SECONDS, "the first 200")

    def get(self, path: str, post_bytes: int = 0) -> httpx.Response:
        """The response to one request."""
        method, body = ("POST", b"x" * post_bytes) if post_bytes else ("GET", None)
        url = f"{self._url}{path}"
        return httpx.request(method, url, content=body, timeout=10, verify=NO_TLS, trust_env=False)

    def load(self, path: str, seconds: float, connections: int = 64, post_bytes: int = 0) -> Sample:
        """As many requests as it can answer on so many kept connections."""
        self._warm(path, min(connections, WARM_CONNECTIONS), post_bytes)
        return {**self.hit(path, seconds, connections, post_bytes), MEMORY: self.cgroup.memory()}

    def hit(self, path: str, seconds: float, connections: int = 64, post_bytes: int = 0) -> Sample:
        """The same without a time to warm up; path: may be a whole URL."""
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
        }

    def press(self, path: str, seconds: float, connections: int, patience: int) -> Sample:
        """A load without time to warm up; patience: seconds that a client waits."""
        result = self._wrk(path, seconds, connections, patience=patience)
        good = result["requests"] - result["refused"]
        return {
            RATE: good / result["seconds"],
            P99: result["p99"],
            ERRORS: result["refused"] + result["failed"],
        }

    def load_at(self, rate: int, path: str, seconds: float) -> Sample:
        """So many requests a second, due at fixed times, whatever the server does."""
        self._warm(path)
        before = self.cgroup.cpu()
        options = {"mode": "keepalive", "rate": rate, "timeout": TIMEOUT, "no_echo": True}
        out = self._folder / "load.json"
        with Load(self.container, out, path, seconds=seconds, **options) as load:
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

    def _warm(self, path: str, connections: int = WARM_CONNECTIONS, post_bytes: int = 0) -> None:
        """See that the answer is right, and have every worker give it.

        On few connections, as what they leave in a queue would be answered in the measured time.
        """
        rest(self.container)
        response = self.get(path, post_bytes)
        if not response.is_success or response.content != _bodies.setdefault(
            path, response.content
        ):
            raise RuntimeError(f"{response} to {path}, of {len(response.content)} other bytes")
        self._wrk(path, WARM_SECONDS, connections, post_bytes)
        rest(self.container)

    def _wrk(
        self,
        path: str,
        seconds: float,
        connections: int,
        post_bytes: int = 0,
        patience: int = PATIENCE,
    ) -> Sample:
        words = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{math.ceil(seconds)}s"]
        words += [
            "--timeout",
            f"{patience}s",
            "-s",
            str(HERE / "wrk.lua"),
            path if "://" in path else f"http://127.0.0.1{path}",
        ]
        words += ["--", str(post_bytes)] if post_bytes else []
        done = subprocess.run(
            command_in_netns(self.pid, words),
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + 60,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])


def _times(result: Result) -> list[float]:
    """Latencies in ms; what got no right answer took as long as its client would have waited."""
    return [
        one.latency_ms if one.verdict == Verdict.OK else TIMEOUT * 1e3 for one in result.records
    ]


# The first answer to each path: all contestants have to give the same.
_bodies: dict[str, bytes] = {}


def prepare(folder: Path) -> Path:
    """The application with its files, readable for any user."""
    app = folder / "app"
    shutil.copytree(HERE / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    (app / "static").mkdir()
    (app / "static/10-kb.txt").write_text("0123456789abcde\n" * 640)
    # For nginx alone.
    script = "from app import app; print(app.test_client().get('/page').text, end='')"
    page = subprocess.run(
        [sys.executable, "-Bc", script], cwd=app, stdout=subprocess.PIPE, check=True
    )
    (app / "page").write_bytes(page.stdout)
    with (app / "100-mb.bin").open("wb") as out:
        for _ in range(100):
            out.write(os.urandom(FILE_BYTES // 100))
    return app


@contextmanager
def serving(contestant: Contestant, image: str, app: Path, heavy: bool) -> Iterator[Serving]:
    """A fresh container of a contestant, at rest, which is removed at the end.

    app: the application's folder; heavy: with four workers that import 60 MB each.
    """
    options = {**contestant.options, **((contestant.four or {}) if heavy else {})}
    env = {**contestant.options.get("env", {}), **options.pop("env", {})}
    if heavy:
        env["BENCH_HEAVY"] = "1"
    with common.engine("bench") as engine, common.folder() as folder:
        container = engine.run(
            options.pop("command", None),
            image=image,
            env=env,
            volumes={str(app): {"bind": "/app", "mode": "ro"}, **options.pop("volumes", {})},
            ports={},  # nothing from outside, and no proxy of the engine's to start
            nano_cpus=int(CPUS * 1e9),
            mem_limit=MEMORY_LIMIT,
            **options,
        )
        served = Serving(container, folder)
        rest(container)
        yield served
