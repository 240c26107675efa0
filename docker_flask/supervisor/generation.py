"""A generation: the application in one state of its code, on a socket that process 1 owns."""

import os
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from docker_flask.plan.limits import MemoryWatch
from docker_flask.plan.plan import Plan
from docker_flask.plan.workers import in_words
from docker_flask.servers.app_server import SERVERS
from docker_flask.shared import process
from docker_flask.shared.log import log
from docker_flask.shared.loop import Loop
from docker_flask.shared.sockets import listen_unix
from docker_flask.supervisor import connections, worker_environment
from docker_flask.supervisor.load_lock import LoadLock
from docker_flask.supervisor.secret_keys import SecretKeys
from docker_flask.supervisor.server_process import ServerProcess
from docker_flask.supervisor.task import Steps, Task, Until
from docker_flask.supervisor.wide_server import WideServer
from docker_flask.supervisor.worker_counts import WorkerCounts
from docker_flask.supervisor.worker_report import Report

BEFORE = "before the application was loaded"
# Seconds that a server without requests gets to stop before it is killed.
STOP_TIMEOUT = 0.8


class State(IntEnum):
    """The states of a generation. From FAILED on, only a later state may follow.

    READY leads to LOADING if a server that crashed starts again.
    """

    LOADING = 0  # no worker has loaded the application
    READY = 1  # at least one worker has
    FAILED = 2
    RETIRING = 3  # nginx sends it no more requests
    ENDED = 4


class Generation:
    """The socket outlives its servers: when a server dies, connections queue for the next one.

    state: one of `State`. since: when it began to serve (s since 1970), 0.0 before. failure: why it
    failed to load the application. needs_all: True if it fails with one worker that can't load,
    because another generation serves. report: of the last worker that has loaded the application.
    narrow: the server that always runs. wide: the one that runs while requests wait.
    """

    def __init__(
        self,
        number: int,
        runtime: Path,
        loop: Loop,
        plan: Plan,
        sendfile_location: str,
        watch: MemoryWatch,
        counts: WorkerCounts,
    ) -> None:
        self.state = State.LOADING
        # A unique path: the kernel lists sockets by path, and containers can share this list.
        self.path = runtime / f"app{number}-{os.urandom(4).hex()}.sock"
        self.number = number
        self.since = 0.0
        self.server = SERVERS[plan.settings.app_server]
        self.plan = plan
        self._sendfile_location = sendfile_location
        self._watch = watch
        self.needs_all = self._is_measured = False
        self.failure = ""
        self.report = Report()
        self._secret_keys = SecretKeys()
        self._runtime = runtime
        self._loop = loop
        self._options_file = self.path.with_suffix(".options") if plan.options.text else None
        if self._options_file:
            self._options_file.write_text(plan.options.text)
        self._listener = listen_unix(str(self.path), plan.sizing.queue)
        self.narrow = ServerProcess(loop, self._note, counts)
        self._counts = counts
        self.wide = WideServer(self._open_wide, watch, plan.settings.start_timeout)
        self._lock = LoadLock(self.path.with_suffix(".lock"))
        self._load_one_by_one = False
        # Since when no worker serves, or the time of the next try.
        self._waits_since = time.monotonic()

    @property
    def servers(self) -> list[ServerProcess]:
        """All servers."""
        return [self.narrow, *self.wide.servers()]

    def worker_pids(self) -> list[int]:
        """The workers that have loaded the application."""
        return [pid for server in self.servers for pid in server.workers()]

    def become(self, state: State) -> bool:
        """Change the state; returns False, and changes nothing, if this can't follow."""
        if self.state >= State.FAILED and state <= self.state:
            return False
        self.state = state
        return True

    def start(self, load_one_by_one: bool = False) -> None:
        """Start the server, or start it again after a crash.

        load_one_by_one: all workers load one after another, because another generation needs the
        CPUs.
        """
        if not self.become(State.LOADING):
            return
        self._load_one_by_one = load_one_by_one
        self._waits_since = time.monotonic()
        try:
            self._start(self.narrow, self.plan.workers.count, self.plan.workers.threads)
        except OSError as error:
            self._fail(f"{self.server.name} can't start: {error.strerror}")

    def _start(self, server: ServerProcess, count: int, threads: int) -> None:
        command = self.server.command(self.plan.launch(count, threads, self._options_file))
        environment = worker_environment.make(
            self.plan,
            self._runtime,
            threads,
            sendfile_location=self._sendfile_location,
            retire_signal=int(self.server.retire_signal),
            load_lock=str(self._lock.path),
            load_one_by_one=self._load_one_by_one,
            salt=self._secret_keys.salt,
        )
        server.start(command, environment, self._listener)

    # --- loading ------------------------------------------------------------------------------

    def ready(self) -> bool:
        """True if a worker has loaded the application, and lives."""
        servers = [self.narrow, *filter(None, [self.wide.server])]
        return self.state is State.READY and any(server.workers() for server in servers)

    def settled(self, all_workers: bool = False) -> bool:
        """True if the start has succeeded or failed.

        all_workers: it has succeeded when the last worker has loaded the application.
        """
        self._note_lost()
        is_complete = self.ready()
        if all_workers:
            wanted = self.plan.workers
            is_complete &= len(self.narrow.workers()) >= wanted.count
            if self.wide.server:
                is_complete &= len(self.wide.server.workers()) >= wanted.wide_count
        return is_complete or self.state is State.FAILED

    def why_not_ready(self) -> str:
        """The reason why the application does not serve."""
        seconds = self.plan.settings.start_timeout
        late = f"the application did not load within START_TIMEOUT={seconds:g} seconds"
        return self.failure or late

    def has_failed(self) -> bool:
        """True if it can't load the application, or no worker serves for START_TIMEOUT."""
        is_late = time.monotonic() - self._waits_since > self.plan.settings.start_timeout
        return self.state is State.FAILED or (is_late and not self.ready())

    def _note_lost(self) -> None:
        """Note workers that ended before they could report why."""
        for pid in self.narrow.lost():
            self._failed(f"worker (pid {pid}) ended {BEFORE}; {self._why()}")

    def _failed(self, reason: str) -> None:
        """A worker can't load the application, while others may serve."""
        if self.state is State.READY and not self.needs_all:
            self._lock.failed(reason)
            self._waits_since = self._lock.until
        else:
            self._fail(reason)

    def _why(self) -> str:
        return self._watch.killed() or "the lines above may say why"

    def ended(self, pid: int, status: int) -> str:
        """Note that a process has ended; returns a description if the narrow server needs a start.

        Workers of a server that has crashed finish their requests and end.
        """
        server = next((it for it in self.servers if it.pid == pid), None)
        if not server:
            return ""
        server.pid = 0
        text = f"{self.server.name} (pid {pid}) {process.describe(status)}"
        self._wide_failed(server, text)
        return text if server is self.narrow else ""

    def fail(self, reason: str) -> None:
        """Note why the application did not load, unless a worker has reported a reason."""
        self._fail(f"{reason} {BEFORE}; {self._why()}")

    # --- serving ------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at the demand, and at workers that can't load; call it every INTERVAL."""
        self._note_lost()
        self._lock.look()
        if self.ready():
            self._waits_since = time.monotonic()
        if self.plan.workers.wide_count:
            requests, pids = self.requests(), self.narrow.workers()
            self.wide.advance(requests, pids, self.plan.workers, not self._lock.is_failing)

    def _open_wide(self) -> ServerProcess:
        wide = ServerProcess(
            self._loop, lambda message: self._note_wide(wide, message), self._counts
        )
        try:
            self._start(wide, self.plan.workers.wide_count, self.plan.workers.wide_threads)
        except OSError:
            wide.kill()
            raise
        return wide

    def requests(self) -> int:
        """Requests that wait or run in this generation, without its WebSockets."""
        return max(0, connections.to_socket(self.path) - self.web_sockets())

    def web_sockets(self) -> int:
        """WebSockets that are open in this generation."""
        return sum(server.web_sockets() for server in self.servers)

    def threads(self) -> int:
        """Threads that requests have started and that outlive them (late_threads.py)."""
        return sum(server.threads() for server in self.servers)

    def close_web_sockets(self) -> None:
        """Let clients leave: the workers send close frames, and refuse new WebSockets."""
        for server in self.servers:
            server.leave.give()

    def _fail(self, reason: str) -> None:
        if self.become(State.FAILED):
            self.failure = reason

    def stop(self, seconds: float) -> Steps[None]:
        """Stop the servers; kill those that do not stop within these seconds."""
        self.become(State.RETIRING)
        for server in self.servers:
            for line in server.lines_about_threads():
                log(line)
        tasks = [Task(server.stop(seconds)) for server in self.servers]
        # After the last worker has ended, nothing holds a server up.
        yield Until(lambda: not [it for it in tasks if not it.advance()], 2 * seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the servers and all their child processes, and close the socket; once."""
        if not self.become(State.ENDED):
            return
        for server in self.servers:
            server.kill()
        self._lock.close()
        self._listener.close()
        for file in self._runtime.glob(f"{self.path.stem}.*"):
            file.unlink(missing_ok=True)

    # --- messages of workers ------------------------------------------------------------------

    def _note(self, message: dict[str, Any]) -> bool:
        """Note what a worker reports; changes nothing if a part of the message is missing."""
        if message["state"] != "ready":
            self._failed(message["text"])
            return False
        self.report = Report.read(message)
        self._lock.loaded()
        if not self._fits(self.report.memory):
            return False
        self._secret_keys.compare(self.report.secret_key)
        self.become(State.READY)
        return True

    def _fits(self, memory: int) -> bool:
        """Decide the number of workers by what the first one takes (bytes).

        Returns False after a start with other numbers: the other workers have not loaded yet.
        """
        if self._is_measured or self.state is not State.LOADING:
            return True
        self._is_measured = True
        before, self.plan = self.plan.workers, self.plan.measured(memory)
        now = self.plan.workers
        if (now.count, now.threads) == (before.count, before.threads):
            return True
        size = f"a worker takes {memory >> 20} MiB"
        log(f"{size}: starting again with {in_words(now.count, now.threads)} ({now.reason})")
        self.narrow.kill_processes()
        self.start(self._load_one_by_one)
        return False

    def _note_wide(self, wide: ServerProcess, message: dict[str, Any]) -> bool:
        if message["state"] == "ready":
            self._secret_keys.compare(str(message["secret_key"]))
            return True
        reason = f"the additional workers can't load the application: {message['text']}"
        self._wide_failed(wide, reason)
        return False

    def _wide_failed(self, server: ServerProcess, reason: str) -> None:
        """Note why a server failed, unless it has to end anyway."""
        if server is self.wide.server and self.state < State.FAILED:
            self.wide.failed(reason)
