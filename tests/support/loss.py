"""A container under the loss checker's load: what was done to it, and what that cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from docker.errors import APIError

from tests.support.harness import ROOT, Container, Engine, command_in_netns, wait_for
from tests.support.loss_checker.record import Verdicts, check, ids_in_log, read_record
from tests.support.loss_checker.result import Result
from tests.support.servers import CHOSEN, Server

RECORDING_APP = Path(__file__).parent / "loss_checker/app.py"


def written_memory(container: Container) -> int:
    """Bytes that a container's processes have written, by either version of control groups."""
    counts = container.docker.stats(stream=False, one_shot=True)["memory_stats"]["stats"]
    return int(counts.get("anon", counts.get("total_rss")))


class Load:
    """Load on a container from inside its network namespace, in a process of its own.

    The client's sockets are the container's neighbours there: Docker's userland proxy, which
    accepts before it knows whether the container does, is not in between.
    """

    def __init__(self, container: Container, out: Path, path: str = "/", **options: Any) -> None:
        settings = {"url": f"http://127.0.0.1:80{path}", "seconds": 60, **options}
        words = [sys.executable, "-m", "tests.support.loss_checker.client"]
        words += [json.dumps(settings), str(out)]
        self._out = out
        self._process = subprocess.Popen(
            command_in_netns(container.pid, words),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        self._process.stdout.readline()  # on a busy machine, a process takes its time to begin
        self.begun = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def finish(self, seconds: float = 30) -> Result:
        """End the load, wait for its last answers, and return what it saw."""
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float) -> Result:
        """Wait for a load that ends by itself, and return what it saw."""
        assert self._process.wait(seconds) == 0
        return Result.load(self._out)


class Service:
    """A production container that serves the checked application and keeps its record.

    wait: until it serves; other options are those of `Engine.run`.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        server: Server = CHOSEN,
        wait: bool = True,
        **options: Any,
    ) -> None:
        self.server = server
        self.titles = {
            "app master": server.master,
            "app worker": server.worker,
            "nginx master": "nginx: master",
            "nginx worker": "nginx: worker",
        }
        self.app = folder / "app"
        self.record = folder / "record"
        self.app.mkdir(mode=0o755)
        self.record.mkdir()
        self.record.chmod(0o1777)
        (self.app / "app.py").write_text(RECORDING_APP.read_text())
        self.set_version("1")
        self._folder = folder
        self._loads = 0
        env = {"RECORD_DIR": "/record", **options.pop("env", {})}
        volumes = {
            str(self.app): {"bind": "/app", "mode": "ro"},
            str(self.record): {"bind": "/record", "mode": "rw"},
            **options.pop("volumes", {}),
        }
        self.container = engine.run(server=server, env=env, volumes=volumes, **options)
        if wait:
            self.container.wait_until_serving()

    def set_version(self, version: str) -> None:
        """What the application says of itself after the next reload."""
        (self.app / "version.txt").write_text(version)

    def load(self, path: str = "/", **options: Any) -> Load:
        """Begin a load; options are the client's settings."""
        self._loads += 1
        return Load(self.container, self._folder / f"load{self._loads}.json", path, **options)

    def verdicts(self, *results: Result, ended_by_itself: bool = False) -> Verdicts:
        """Join what the clients saw with what the application noted.

        ended_by_itself: nginx was not killed, so that its log has all that it accepted.
        """
        merged = results[0].merge(*results[1:])
        accepted = ids_in_log(self.container.logs()) if ended_by_itself else None
        verdicts = check(merged, read_record(self.record), accepted)
        # The client itself must have had what it needs.
        assert not verdicts.unrecorded, verdicts
        assert not verdicts.unknown, verdicts.unknown
        assert merged.counts["client_error"] == 0, merged.counts
        return verdicts

    def kill(self, pid: int) -> tuple[float, float]:
        """SIGKILL a process inside; returns when, and when it was gone (s, time.monotonic())."""
        (host,) = (
            int(row[0])
            for row in self.container.docker.top(ps_args="-eo pid")["Processes"]
            if _number_inside(row[0]) == pid
        )
        begun = time.monotonic()
        os.kill(host, signal.SIGKILL)
        wait_for(lambda: _is_gone(host), 5, f"process {pid} to end", every=0.001)
        return begun, time.monotonic()

    def processes(self, role: str) -> list[int]:
        """Pids inside the container of the processes of a role: a key of `titles`.

        An empty list if the container has ended.
        """
        try:
            return self.container.pids(self.titles[role])
        except (APIError, AssertionError):
            if self.container.running():
                raise
            return []

    def signal(self, name: str, *pids: int) -> None:
        """Send a signal to processes inside the container."""
        self.container.kill(name, *pids)


def _number_inside(pid: str) -> int | None:
    """The number of a process in the innermost container that it runs in."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def _is_gone(pid: int) -> bool:
    """True once a process has ended; its connections are closed by then."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
