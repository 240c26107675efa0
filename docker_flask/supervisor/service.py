"""What process 1 runs: nginx and the generations of the application."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

from docker_flask.plan import nginx_files, plan
from docker_flask.plan.limits import Limits, MemoryWatch
from docker_flask.plan.plan import Plan
from docker_flask.servers.app_server import SERVERS
from docker_flask.shared import process, sockets
from docker_flask.shared.drop_privileges import why_not_all_readable
from docker_flask.shared.loop import Loop
from docker_flask.shared.origin import Found
from docker_flask.shared.prestart import Prestart
from docker_flask.shared.runtime_folder import replace_symlink
from docker_flask.shared.setting_error import SettingError
from docker_flask.supervisor.app_metrics import AppMetrics
from docker_flask.supervisor.certificates.certificates import Certificates
from docker_flask.supervisor.generation import STOP_TIMEOUT, Generation
from docker_flask.supervisor.nginx import Nginx
from docker_flask.supervisor.nginx_configuration import Configuration
from docker_flask.supervisor.programs import Programs
from docker_flask.supervisor.restarts import Restarts
from docker_flask.supervisor.retire import retire
from docker_flask.supervisor.start_log import StartLog
from docker_flask.supervisor.task import FILES_TIMEOUT, TICK, Steps, Task, in_thread
from docker_flask.supervisor.traffic import Traffic
from docker_flask.supervisor.worker_counts import WorkerCounts

T = TypeVar("T")


class Phase(Enum):
    """The phases of a container."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Service:
    """Start, reload and stop work on it.

    current: nginx connects to this generation. candidate: it is loading. retiring: older
    generations that finish their requests. early: the settings that were read before prestart.sh.
    is_shown_ready: what HEALTH_PATH answers.
    """

    def __init__(
        self,
        limits: Limits,
        runtime: Path,
        listeners: list[socket.socket],
        early: Mapping[str, Found],
    ) -> None:
        self.limits = limits
        self.runtime = runtime
        self.listeners = listeners
        self.environment = dict(os.environ)
        self.early = early
        self.memory = MemoryWatch(limits)
        self.phase = Phase.STARTING
        self.loop = Loop()
        self.traffic = Traffic(self.loop)
        self.worker_counts = WorkerCounts()
        self.prestart = Prestart()
        self.programs = Programs()
        self.app_metrics = AppMetrics(runtime, self.programs)
        self.nginx = Nginx(self.loop, self.programs, runtime, listeners, self.traffic.nginx_end)
        self.certificates = Certificates(runtime)
        self.start_log = StartLog(sockets.ports(listeners))
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.retiring: dict[Generation, Task] = {}
        self._number = 0
        self.is_shown_ready = True
        self.restarts = Restarts()

    def generations(self) -> Iterator[Generation]:
        """All generations that have processes."""
        yield from self.retiring
        for generation in (self.current, self.candidate):
            if generation:
                yield generation

    def make_plan(self) -> Steps[Plan]:
        """Read the settings and the user's files; raises SettingError, OSError."""
        program = yield from self._read(
            lambda: plan.program(self.environment, self.limits, self.early)
        )
        output = None
        if program:
            try:
                output = yield from self.programs.run(*program)
            except TimeoutError:
                raise program.late() from None
        memory = self.current.plan.workers.memory if self.current else 0
        return (
            yield from self._read(
                lambda: plan.make(self.environment, self.limits, self.early, memory, output)
            )
        )

    def _read(self, function: Callable[[], T]) -> Steps[T]:
        """Run a function that reads the user's files."""
        try:
            return (yield from in_thread(self.loop, function, FILES_TIMEOUT))
        except TimeoutError:
            raise SettingError(
                f"reading your files takes more than {FILES_TIMEOUT:g} seconds; perhaps one in "
                f"{Path.cwd()} or {nginx_files.FOLDER} is a pipe, or a disk does not respond"
            ) from None

    def note_unreadable_files(self) -> Steps[None]:
        """Note which file of the application its user can't read, for the log."""
        root = Path.cwd()
        look = partial(why_not_all_readable, root)
        try:
            problem = yield from in_thread(self.loop, look, FILES_TIMEOUT)
        except TimeoutError:
            problem = f"looking through {root} takes more than {FILES_TIMEOUT:g} seconds"
        if problem:
            self.start_log.notes.append(problem)

    def configure_nginx(
        self, new_plan: Plan, generation: Generation | None, tested: Configuration | None = None
    ) -> Steps[Configuration]:
        """nginx's configuration for this plan and certificate; raises SettingError, OSError."""
        static = generation.report.static if generation else None
        return self.nginx.configurations.prepare(new_plan, static, self.certificates.folder, tested)

    def load(self, new_plan: Plan) -> Generation:
        """Start a new generation; the current generation keeps serving."""
        server = SERVERS[new_plan.settings.app_server]
        if new_plan.options.ignored:
            options = ", ".join(new_plan.options.ignored)
            self.start_log.notes.append(
                f"ignored options for {server.name}, because the image sets them: {options}"
            )
        self._number += 1
        fresh = Generation(
            self._number,
            self.runtime,
            self.loop,
            new_plan,
            self.nginx.configurations.sendfile_location(new_plan),
            self.memory,
            self.worker_counts,
        )
        self.candidate = fresh
        fresh.needs_all = bool(self.current)
        fresh.start(load_one_by_one=bool(self.current))
        return fresh

    def give_up_candidate(self) -> None:
        """Kill the generation that loads, if there is one."""
        if self.candidate:
            self.candidate.kill()
            self.candidate = None

    def switch_to(self, fresh: Generation) -> None:
        """Let a ready generation serve, and the current one retire; raises OSError."""
        replace_symlink(self.runtime / "app.sock", fresh.path.name)
        old, self.current, self.candidate = self.current, fresh, None
        fresh.needs_all, fresh.since = False, time.time()
        if old:
            # Only one old generation keeps its WebSockets, because each needs memory.
            for older in self.retiring:
                older.close_web_sockets()
            self.retiring[old] = Task(retire(old))
        self.nginx.link_static(fresh.report.static, fresh.number)

    def advance_retirement(self, generation: Generation) -> None:
        """Continue to stop an old generation."""
        has_ended = True
        try:
            has_ended = self.retiring[generation].advance()
        finally:
            if has_ended:
                del self.retiring[generation]
                generation.kill()

    def rows(self) -> list[tuple[str, str, str]]:
        """The settings of the generation that serves, or of the first that loads, for a person."""
        generation = self.current or self.candidate
        return generation.plan.rows() if generation else []

    def problem(self) -> str:
        """Which process the container lacks; empty if there is none."""
        if not self.nginx.pid:
            return "nginx has ended"
        if self.nginx.lacks_workers():
            return "nginx has no worker process"
        if not (self.current and self.current.narrow.pid):
            return "the application server has ended"
        return ""

    def why_not_ready(self) -> str:
        """Why requests should go to another container; empty if they may come here."""
        if self.phase is not Phase.SERVING:
            return f"the container is {self.phase.value}"
        if problem := self.problem():
            return problem
        return "" if self.current and self.current.ready() else "no worker has the application"

    def show_readiness(self) -> None:
        """Tell nginx, for HEALTH_PATH."""
        is_ready = not self.why_not_ready()
        if is_ready != self.is_shown_ready:
            self.is_shown_ready = is_ready
            self.nginx.show_readiness(is_ready)

    def look(self) -> None:
        """Look at what has no event; call it every INTERVAL of the wide server."""
        if not self.current:
            return
        if reason := self.memory.killed():
            self.current.wide.memory_ran_out(reason)
        if self.nginx.mend():
            self._restart_nginx()
        self.current.look()

    # --- deaths ----------------------------------------------------------------------------

    def child_ended(self, pid: int, status: int) -> None:
        """Start a process again that died; raises Failure."""
        if pid == self.prestart.pid:
            self.prestart.ended(status)
        elif pid == self.nginx.pid:
            self._died("nginx", self.nginx.ended(status), self._restart_nginx)
        elif not (self.programs.ended(pid, status) or self.certificates.ended(pid, status)):
            for generation in list(self.generations()):
                if reason := generation.ended(pid, status):
                    self._server_ended(generation, reason)

    def _server_ended(self, generation: Generation, reason: str) -> None:
        if generation is self.candidate:
            generation.fail(reason)
        elif generation is self.current:
            self._died(generation.server.name, reason, partial(self._restart_server, generation))

    def _died(self, name: str, reason: str, restart: Callable[[], None]) -> None:
        if self.phase is not Phase.STOPPING:
            self.restarts.died(name, reason, restart)

    def _restart_nginx(self) -> None:
        if self.nginx.pid:  # the start of the container came first
            return
        try:
            self.nginx.restart()
        except OSError as error:
            self.restarts.can_not_start("nginx", str(error.strerror), self._restart_nginx)

    def _restart_server(self, generation: Generation) -> None:
        # The new server inherits the socket, with the queued connections. Workers of the old server
        # finish their requests, notice that their server has ended, and end.
        if generation is self.current:  # no reload has replaced it
            generation.start()

    def kill_all(self) -> None:
        """Kill all processes and wait until the last one has ended."""
        self.phase = Phase.STOPPING
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        for generation in list(self.generations()):
            generation.kill()
        self.nginx.kill()
        process.signal_group(self.prestart.pid, signal.SIGKILL)
        self.loop.wait(lambda: not process.any_left(), STOP_TIMEOUT, tick=TICK)
