"""A generation: one application server, started from one plan, on a socket that PID 1 owns."""

import contextlib
import os
import signal
import socket
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from docker_flask import connections, notify, process
from docker_flask.configuration.limits import MemoryWatch
from docker_flask.configuration.plan import Plan
from docker_flask.configuration.validators import in_bytes
from docker_flask.first_process.loop import Loop
from docker_flask.first_process.sockets import listen_unix
from docker_flask.first_process.task import Steps, Until
from docker_flask.log import log
from docker_flask.nginx.rendering import Frontend
from docker_flask.servers.app_server import SOCKET_FD, AppServer
from docker_flask.static_files import StaticFiles
from docker_flask.supervisor.worker_pool import WorkerPool
from docker_flask.worker_options import WorkerOptions

# A cached page may take one eighth of the cache.
PAGE_SHARE = 8
# Seconds that a server without requests gets to stop before it is killed.
STOP_TIMEOUT = 0.8
# Seconds between two checks, and how many checks in a row must find no request: nginx may have a
# connection that the application has not accepted yet.
RETIRE_INTERVAL, IDLE_CHECKS = 0.1, 2
# Seconds in which WebSockets close: more than worker/web_sockets.py takes.
CLOSE_TIMEOUT = 5.0


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
    """The socket outlives the server: when the server dies, connections queue for the next one.

    state: one of `State`. failure: why it failed to load the application.
    """

    def __init__(
        self,
        number: int,
        runtime: Path,
        server: AppServer,
        loop: Loop,
        plan: Plan,
        frontend: Frontend,
        watch: MemoryWatch,
    ) -> None:
        self.state = State.LOADING
        # A unique path: the kernel lists sockets by path, and containers can share this list.
        self.path = runtime / f"app{number}-{os.urandom(4).hex()}.sock"
        self.number = number
        self.server = server
        self.plan = plan
        self._frontend = frontend
        self._watch = watch
        self.pid = 0
        # Process groups of this server, and of the crashed servers before it: workers of a crashed
        # server may still run.
        self.groups: list[int] = []
        self.failure = ""
        # The application that the workers have loaded.
        self.loaded = ""
        # The static files that nginx serves.
        self.static: StaticFiles | None = None
        # For the log: the application, its static files, and what is unusual about it.
        self.found = self.static_files = ""
        self.notes: list[str] = []
        # None if the number of workers is fixed, or uWSGI's `cheaper-algo` decides it.
        resizes = server.resizes and plan.settings.uwsgi_cheaper
        has_cheaper_algo = "\ncheaper-algo " in plan.server_options
        self.pool = WorkerPool(plan) if resizes and not has_cheaper_algo else None
        self._runtime = runtime
        self._loading: set[int] = set()
        self._workers: set[int] = set()
        self._loop = loop
        self._options_file = self.path.with_suffix(".options") if plan.server_options else None
        if self._options_file:
            self._options_file.write_text(plan.server_options)
        # A FIFO: a plus adds a worker, a minus removes a worker.
        self._orders = self.path.with_suffix(".orders")
        self._listener = listen_unix(str(self.path), plan.sizing.queue)
        self._channel, self._workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        loop.watch(self._channel, self._on_message)
        # The WebSockets of each worker, by its pid. If this process closes the pipe, they leave.
        self._web_sockets: dict[int, int] = {}
        self._leave, self._stay = os.pipe()

    def _become(self, state: State) -> bool:
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
        if not self._become(State.LOADING):
            return
        self._loading.clear()
        self._workers.clear()
        inherited = self._listener.fileno(), self._workers_end.fileno(), self._leave
        try:
            self.pid = process.spawn(
                self.server.command(self.plan, self._options_file, self._orders),
                {**self._environment(), **self._options(load_one_by_one).to_environment()},
                inherited,
            )
        except OSError as error:
            self._fail(f"{self.server.name} can't start: {error.strerror}")
            return
        self.groups.append(self.pid)

    def _options(self, load_one_by_one: bool) -> WorkerOptions:
        settings = self.plan.settings
        return WorkerOptions(
            notify_fd=SOCKET_FD + 1,
            trusted_proxies=settings.trusted_proxies or (),
            app_module=settings.app_module or "",
            uwsgi_ini=settings.uwsgi_ini or "",
            preload=settings.preload,
            load_lock=str(self.path.with_suffix(".lock")),
            load_one_by_one=load_one_by_one,
            request_timeout=settings.request_timeout,
            watchdog=self.plan.watchdog,
            max_requests=settings.max_requests,
            max_worker_memory=in_bytes(settings.max_worker_memory),
            retire_signal=int(self.server.retire_signal),
            max_web_sockets=self.plan.sizing.web_sockets,
            max_message=in_bytes(settings.websocket_max_message),
            leave_fd=SOCKET_FD + 2,
            sendfile_location=self._frontend.sendfile_location,
            cache_folder=str(self._runtime / "cache") if self._frontend.cache_size else "",
            max_cached_page=self._frontend.cache_size // PAGE_SHARE,
            static_url=settings.static_url,
            static_path=settings.static_path,
            static_max_age=settings.static_max_age,
        )

    def _environment(self) -> dict[str, str]:
        """The environment of the server and the application."""
        # Without UWSGI_* variables: uWSGI reads each one as an option, and exits if it does not
        # know the option. Kubernetes sets such variables for a service with the name uwsgi.
        # Gunicorn fails if WEB_CONCURRENCY is set but empty.
        environment = {
            name: value
            for name, value in self.plan.environment.items()
            if not name.startswith("UWSGI_") and (value.strip() or name != "WEB_CONCURRENCY")
        }
        # Production has no debug mode, even if the container or a .flaskenv sets FLASK_DEBUG=1.
        environment["FLASK_DEBUG"] = "0"
        if not os.access("/tmp", os.W_OK):  # noqa: S108 (where tempfile looks)
            environment.setdefault("TMPDIR", str(self._runtime))
        return environment

    def ready(self, workers: int = 1) -> bool:
        """True if this number of workers has loaded the application."""
        return self.state is State.READY and len(self._workers) >= workers

    def settled(self, workers: int = 1) -> bool:
        """True if the start has succeeded or failed."""
        # A worker that ended before it could report why: os._exit, a crash, a kill.
        lost = [pid for pid in self._loading if not process.alive(pid)]
        if lost and self.state is State.LOADING:
            self.fail(f"worker (pid {lost[0]}) ended")
        return self.ready(workers) or self.state is State.FAILED

    def why_not_ready(self) -> str:
        """The reason why the application does not serve."""
        seconds = self.plan.settings.start_timeout
        late = f"the application did not load within START_TIMEOUT={seconds:g} seconds"
        return self.failure or late

    def resize(self) -> None:
        """Add workers while requests wait, and remove idle workers."""
        if not self.pool:
            return
        # With PRELOAD=1, the first process loads the application, but is no worker.
        known = (self._workers | self._loading) - {self.pid}
        living = {pid for pid in known if process.alive(pid)}
        self._workers &= living
        change = self.pool.change(living, self.requests(), bool(self.web_sockets()))
        if change:  # a server that has crashed may have no FIFO
            with contextlib.suppress(OSError), open(self._orders, "r+b", buffering=0) as fifo:
                fifo.write((b"+" if change > 0 else b"-") * abs(change))

    def requests(self) -> int:
        """Requests that wait or run in this generation, without its WebSockets."""
        return max(0, connections.to_socket(self.path) - self.web_sockets())

    def web_sockets(self) -> int:
        """WebSockets that are open in this generation."""
        self._web_sockets = {p: n for p, n in self._web_sockets.items() if n and process.alive(p)}
        return sum(self._web_sockets.values())

    def close_web_sockets(self) -> None:
        """Let clients leave: the workers send close frames, and refuse new WebSockets."""
        if self._stay >= 0:
            os.close(self._stay)
            self._stay = -1

    def ended(self, status: int) -> str:
        """Note that the server's first process ended; returns a description for the log."""
        text = f"{self.server.name} (pid {self.pid}) {process.describe(status)}"
        self.pid = 0
        return text

    def fail(self, reason: str) -> None:
        """Note why the application did not load, unless a worker has reported a reason."""
        why = self._watch.killed() or "the lines above may say why"
        self._fail(f"{reason} before the application was loaded; {why}")

    def _fail(self, reason: str) -> None:
        if self._become(State.FAILED):
            self.failure = reason

    def retire(self) -> Steps[None]:
        """Stop after the last response, or when a request takes too long.

        nginx sends no new requests. WebSockets stay for WEBSOCKET_RELOAD_TIMEOUT.
        """
        self._become(State.RETIRING)
        begun = time.monotonic()
        deadline = begun + self.plan.release
        close_at = begun + self.plan.settings.websocket_reload_timeout
        idle_checks = 0
        while idle_checks < IDLE_CHECKS:
            yield Until(lambda: False, RETIRE_INTERVAL)
            now, requests, web_sockets = time.monotonic(), self.requests(), self.web_sockets()
            if now > close_at:
                self.close_web_sockets()
                if now > close_at + CLOSE_TIMEOUT:
                    web_sockets = 0
            idle_checks = 0 if requests or web_sockets else idle_checks + 1
            if requests and now > deadline:
                log(
                    f"cutting {requests} requests that the old generation did not answer within "
                    f"{self.plan.release} seconds"
                )
                break
        yield from self.stop(STOP_TIMEOUT)

    def stop(self, seconds: float) -> Steps[None]:
        """Stop the server; kill it if it does not stop within these seconds."""
        if self.pid:
            process.signal_process(self.pid, signal.SIGINT)
            # After the workers have ended, the first process has no work left.
            yield Until(lambda: len(process.states(self.groups)) <= 1, seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the server and all its child processes, and close the socket; once."""
        if not self._become(State.ENDED):
            return
        for group in self.groups:
            process.signal_group(group, signal.SIGKILL)
        self._loop.forget(self._channel)
        for end in (self._channel, self._workers_end, self._listener):
            end.close()
        self.close_web_sockets()
        os.close(self._leave)
        for file in self._runtime.glob(f"{self.path.stem}.*"):
            file.unlink(missing_ok=True)

    def _on_message(self) -> None:
        if message := notify.receive(self._channel):
            self._note(int(message["pid"]), message["state"], message)

    def _note(self, pid: int, state: str, message: dict[str, Any]) -> None:
        """Note what a worker reports; changes nothing if a part of the message is missing."""
        match state:
            case "web sockets":
                self._web_sockets[pid] = int(message["count"])
            case "loading":
                self._loading.add(pid)
            case "ready":
                memory, notes = int(message["memory"]), list(map(str, message["notes"]))
                static = StaticFiles(**message["static"]) if message["static"] else None
                self.found, self.static_files = str(message["found"]), str(message["static_files"])
                self.static, self.notes, self.loaded = static, notes, message["text"]
                if self.pool:
                    self.pool.memory = max(self.pool.memory, memory)
                self._loading.discard(pid)
                self._workers = {pid, *filter(process.alive, self._workers)}
                self._become(State.READY)
            case _:
                self._loading.discard(pid)
                if self.state is State.LOADING:
                    self._fail(message["text"])
