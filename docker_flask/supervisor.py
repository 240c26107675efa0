"""PID 1 in production: sockets, generations, nginx, and what happens when something ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docker_flask import connections, process, servers
from docker_flask.control import OK, Control
from docker_flask.generation import Generation
from docker_flask.limits import Limits
from docker_flask.log import log
from docker_flask.loop import Loop
from docker_flask.runtime import addresses
from docker_flask.settings import EXIT_BAD_SETTING, SettingError, Settings, load

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h: the application or a server can't run
EXIT_CUT = 75  # EX_TEMPFAIL in sysexits.h: requests in flight were cut at the stop
# More deaths of one process than this within a minute, and the container gives up.
MOST_DEATHS, DEATHS_WINDOW = 5, 60.0
# A client waits this long for a starting application; then nginx answers 503.
PATIENCE = 3.0
# What an application server gets to end by itself before it is killed.
POLITE = 0.8
# The same where requests were cut already: Docker's patience is nearly at its end.
HURRIED = 0.2
# How much later than nginx the supervisor lets go of a request that takes too long.
CUT_MARGIN = 5.0
# Below these, a container that serves well when idle may fail under load, and its log says so.
FEW_DESCRIPTORS, SHORT_BACKLOG, FEW_PROCESSES = 1024, 128, 32
# How often a serving supervisor looks for what no signal tells: a process that was stopped
# (SIGSTOP), a socket's file that was deleted.
LOOK_AROUND = 2.0


class Stop(Exception):
    """The container is to stop."""


class StopAtOnce(Exception):
    """It was said twice."""


class Failure(Exception):
    """The container can't go on."""

    def __init__(self, reason: str, code: int = EXIT_NOT_SERVING) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class Retiring:
    """An old generation that still has requests to answer."""

    generation: Generation
    since: float = field(default_factory=time.monotonic)
    idle_looks: int = 0


class Supervisor:
    """Runs one container's life; `run` returns the exit code."""

    def __init__(
        self, settings: Settings, limits: Limits, runtime: Path, listeners: list[socket.socket]
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.runtime = runtime
        self.listeners = listeners
        self.environment = dict(os.environ)
        self.loop = Loop()
        self.server = servers.UWSGI
        self.state = "starting"

        self.nginx = 0
        self.helper = 0
        self.helper_status = 0
        self.number = 0
        # The generation that nginx connects to, the one that is being loaded, and the old ones.
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.retiring: list[Retiring] = []

        self.stops_asked = 0
        self.reload_wanted = False
        self.reload_answers: list[Callable[[str], None]] = []
        self.deaths: dict[str, list[float]] = defaultdict(list)
        self.looked_at = 0.0
        self.stopped_before: set[int] = set()

    def run(self) -> int:
        """Start, serve until told to stop, and leave nothing behind."""
        try:
            try:
                self.loop.handle_signals(
                    {
                        signal.SIGTERM: self._on_stop,
                        signal.SIGINT: self._on_stop,
                        signal.SIGHUP: self._on_reload,
                        signal.SIGCHLD: self._on_child,
                    }
                )
                Control(
                    self.runtime,
                    self.loop,
                    {"health": self._answer_health, "reload": self._answer_reload},
                )
                self._start()
                self._serve()
            except Stop:
                return self._stop()
        except StopAtOnce:
            log("told twice to stop: stopping at once")
            self._kill_all()
            return EXIT_CUT
        except Failure as failure:
            self._kill_all()
            log(str(failure))
            return failure.code
        return 0

    # --- start -----------------------------------------------------------------------------

    def _start(self) -> None:
        self._check_folder()
        self._warn_of_limits()
        self._prestart()
        first = self._new_generation()
        self._write_configuration(starting=False)
        if problem := self._check_configuration():
            raise Failure(problem, EXIT_BAD_SETTING)
        patience = min(PATIENCE, self.settings.start_timeout)
        if not self.loop.wait(first.settled, patience, tick=0.1):
            log("the application is still loading; clients get 503 until it is ready")
            self._write_configuration(starting=True)
            self._start_nginx()
            self.loop.wait(first.settled, self.settings.start_timeout - patience, tick=0.1)
        if not first.ready():
            raise Failure(self._why_not_ready(first))
        self._switch_to(first)
        if self.nginx:
            self._end_nginx()
            self._write_configuration(starting=False)
        self._start_nginx()
        self.state = "serving"

    def _check_folder(self) -> None:
        folder, uid = Path.cwd(), os.geteuid()
        if not os.access(folder, os.R_OK | os.X_OK):
            status = folder.stat()
            or_as_owner = (
                f", or run the container with --user {status.st_uid}" if status.st_uid else ""
            )
            raise Failure(
                f"{folder} can't be read by uid {uid}: it belongs to uid {status.st_uid} with mode "
                f"{status.st_mode & 0o777:o}; allow others to read it (chmod -R o+rX){or_as_owner}"
            )

    def _warn_of_limits(self) -> None:
        tight = []
        if self.limits.descriptors < FEW_DESCRIPTORS:
            tight.append(f"{self.limits.descriptors} open files (ulimit -n)")
        if self.limits.backlog < SHORT_BACKLOG:
            tight.append(f"{self.limits.backlog} waiting connections (net.core.somaxconn)")
        if 0 < self.limits.processes < FEW_PROCESSES:
            tight.append(f"{self.limits.processes} processes (--pids-limit)")
        if tight:
            log(f"this container is limited to {', '.join(tight)}; under load it will refuse some")

    def _prestart(self) -> None:
        """Source the application's prestart.sh in a shell; what it exports is kept."""
        script = Path.cwd() / "prestart.sh"
        if not script.is_file():
            return
        kept = self.runtime / "prestart.environment"
        # Files written on Windows end their lines with a carriage return.
        shell = f"set -e; . <(tr -d '\\r' < {script.name}); env -0 > {kept}"
        self.helper = process.spawn(["/bin/bash", "-c", shell], self.environment)
        while not self.loop.wait(lambda: not self.helper, 60):
            log("prestart.sh is still running")
        if self.helper_status:
            code = os.waitstatus_to_exitcode(self.helper_status)
            raise Failure(
                f"prestart.sh {process.describe(self.helper_status)}; "
                "the application is not started",
                code if code > 0 else EXIT_NOT_SERVING,
            )
        pairs = (pair.partition("=") for pair in kept.read_text().split("\0") if pair)
        self.environment = {name: value for name, _, value in pairs}
        try:
            self.settings = load(self.environment, self.limits)
        except SettingError as error:
            raise Failure(str(error), EXIT_BAD_SETTING) from None

    # --- generations of the application ----------------------------------------------------

    def _new_generation(self) -> Generation:
        self.number += 1
        self.candidate = Generation(
            self.number, self.runtime, self.server, self.loop, self.limits.backlog
        )
        self._start_server(self.candidate)
        return self.candidate

    def _start_server(self, generation: Generation) -> None:
        # uWSGI takes every UWSGI_* variable for an option, and dies of those that it does not
        # know, as Kubernetes sets them for a service called uwsgi.
        environment = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith("UWSGI_") and name != "FLASK_DEBUG"
        }
        if self.settings.app_module:
            environment["APP_MODULE"] = self.settings.app_module
        if not os.access("/tmp", os.W_OK):
            environment.setdefault("TMPDIR", str(self.runtime))
        environment["REQUEST_TIMEOUT"] = f"{self.settings.request_timeout:g}"
        environment["DOCKER_FLASK_RETIRE_SIGNAL"] = str(int(self.server.retire_signal))
        generation.start(self.settings, self.limits, environment)

    def _switch_to(self, fresh: Generation) -> None:
        """Let a generation that is ready serve."""
        fresh.point(self.runtime / "app.sock")
        if self.current:
            self.retiring.append(Retiring(self.current))
        self.current, self.candidate = fresh, None
        log(f"serving {fresh.loaded} on port {self.settings.listen_port}")

    def _why_not_ready(self, generation: Generation) -> str:
        return generation.failure or (
            "the application did not load within "
            f"START_TIMEOUT={self.settings.start_timeout:g} seconds"
        )

    def _generations(self) -> list[Generation]:
        known = [self.current, self.candidate, *(old.generation for old in self.retiring)]
        return [generation for generation in known if generation]

    # --- nginx -----------------------------------------------------------------------------
    # frontend is imported late because Jinja takes longer to load than everything else here,
    # and the application server loads the application meanwhile.

    def _write_configuration(self, starting: bool) -> None:
        from docker_flask import frontend

        text = frontend.render(
            servers.HOME / "nginx.conf",
            self.settings,
            self.limits,
            self.runtime,
            addresses(self.listeners),
            starting,
        )
        (self.runtime / "nginx.conf").write_text(text)

    def _descriptors(self) -> list[int]:
        return [listener.fileno() for listener in self.listeners]

    def _check_configuration(self) -> str:
        from docker_flask import frontend

        return frontend.check(self.runtime / "nginx.conf", self._descriptors())

    def _start_nginx(self) -> None:
        from docker_flask import frontend

        (self.runtime / "nginx.sock").unlink(missing_ok=True)
        inherited = range(process.FIRST_DESCRIPTOR, process.FIRST_DESCRIPTOR + len(self.listeners))
        self.nginx = process.spawn(
            frontend.command(self.runtime / "nginx.conf"),
            {**self.environment, **frontend.environment(list(inherited))},
            self._descriptors(),
        )

    def _end_nginx(self) -> None:
        """End the nginx that says "later", and wait for it; connections queue meanwhile.

        A reload would let both answer for a moment, so that a client could see 503 after 200.
        """
        pid, self.nginx = self.nginx, 0
        process.signal_process(pid, signal.SIGQUIT)
        self.loop.wait(lambda: not process.alive(pid), 2.0, tick=0.01)
        process.signal_group(pid, signal.SIGKILL)

    # --- signals and commands --------------------------------------------------------------

    def _on_stop(self) -> None:
        if self.state == "ending":
            return
        self.stops_asked += 1
        raise Stop if self.stops_asked == 1 else StopAtOnce

    def _on_reload(self) -> None:
        self.reload_wanted = True

    def _answer_reload(self, answer: Callable[[str], None]) -> None:
        if self.state != "serving":
            answer(f"no reload while the container is {self.state}")
            return
        self.reload_answers.append(answer)
        self.reload_wanted = True

    def _answer_health(self, answer: Callable[[str], None]) -> None:
        answer(OK if self.state == "serving" and self.nginx else f"the container is {self.state}")

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.helper:
                self.helper, self.helper_status = 0, status
            elif pid == self.nginx:
                self._nginx_ended(status)
            else:
                for generation in self._generations():
                    if pid == generation.pid:
                        self._server_ended(generation, status)

    # --- deaths ----------------------------------------------------------------------------

    def _nginx_ended(self, status: int) -> None:
        group, self.nginx = self.nginx, 0
        if self.state in ("stopping", "ending"):
            return
        self._count_death("nginx", f"nginx (pid {group}) {process.describe(status)}")
        # Workers that outlived their master finish what they have and go.
        process.signal_group(group, signal.SIGQUIT)
        self._start_nginx()

    def _server_ended(self, generation: Generation, status: int) -> None:
        reason = generation.ended(status)
        if self.state in ("stopping", "ending"):
            return
        if generation is self.candidate:
            generation.failure = generation.failure or (
                f"{reason} before it had loaded the application"
            )
        elif generation is self.current:
            self._count_death(self.server.name, reason)
            # The new one takes up the socket where connections wait. Workers that outlived their
            # master answer what they have, see that it is gone, and go.
            self._start_server(generation)

    def _count_death(self, name: str, reason: str) -> None:
        now = time.monotonic()
        recent = [moment for moment in self.deaths[name] if now - moment < DEATHS_WINDOW]
        self.deaths[name] = [*recent, now]
        if len(self.deaths[name]) > MOST_DEATHS:
            raise Failure(f"{reason}, for the {len(self.deaths[name])}th time within a minute")
        log(f"{reason}; starting it again")

    # --- serve -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self.loop.wait(self._something_to_do, 0.1 if self.retiring else LOOK_AROUND)
            if self.current and self.current.failure:
                raise Failure(self.current.failure)
            if self.reload_wanted:
                self._reload()
            self._retire_idle()
            self._look_around()

    def _something_to_do(self) -> bool:
        broken = self.current and self.current.failure
        return self.reload_wanted or bool(broken)

    def _reload(self) -> None:
        """Put a new generation in the place of the current one, which serves until then."""
        answers, self.reload_answers = self.reload_answers, []
        self.reload_wanted = False
        log("loading the application anew, beside the generation that serves")
        fresh = self._new_generation()
        workers = self.settings.web_concurrency
        self.loop.wait(lambda: fresh.settled(workers), self.settings.start_timeout, tick=0.1)
        if fresh.ready():
            self._switch_to(fresh)
            outcome = OK
        else:
            reason = self._why_not_ready(fresh)
            self.candidate = None
            fresh.kill()
            outcome = f"not reloaded, the old generation serves on: {reason}"
            log(outcome)
        for answer in answers:
            answer(outcome)

    def _retire_idle(self) -> None:
        """Stop the old generations whose last request is answered, or took too long."""
        for old in list(self.retiring):
            requests = old.generation.requests()
            old.idle_looks = 0 if requests else old.idle_looks + 1
            overdue = time.monotonic() - old.since > self.settings.request_timeout + CUT_MARGIN
            if overdue:
                log(f"cutting {requests} requests that the old generation did not answer in time")
            # Two looks, because a connection can be on its way between the two programs.
            if overdue or old.idle_looks >= 2:
                old.generation.stop(POLITE)
                self.retiring.remove(old)

    def _look_around(self) -> None:
        now = time.monotonic()
        if now - self.looked_at < LOOK_AROUND:
            return
        self.looked_at = now
        self._end_stopped()
        if self.current and not (self.runtime / "app.sock").exists():
            log("the application's socket was deleted")
            self.reload_wanted = True

    def _end_stopped(self) -> None:
        """Kill what somebody stopped with SIGSTOP, so that it is replaced."""
        groups = {self.nginx, *(group for g in self._generations() for group in g.groups)}
        stopped = {pid for pid, state in process.states(groups).items() if state == "T"}
        for pid in stopped & self.stopped_before:
            log(f"process {pid} has been stopped for {LOOK_AROUND:g} seconds; killing it")
            process.signal_process(pid, signal.SIGKILL)
        self.stopped_before = stopped

    # --- stop ------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Answer everything that was accepted, then end everything; the README has a picture."""
        begun = time.monotonic()

        def left() -> float:
            return max(0.0, begun + self.settings.graceful_timeout - time.monotonic())

        served, self.state = self.state == "serving", "stopping"
        if not served:
            log("stopping before the start was complete")
            self._kill_all()
            return 0
        log("stopping")
        if self.candidate:
            self.candidate.kill()
            self.candidate = None
        port = self.settings.listen_port
        (self.runtime / "draining").touch()
        drain = min(self.settings.drain_delay, left())
        self.loop.wait(lambda: not connections.to_port(port), drain, tick=0.02)
        connections.LastCall(self.listeners, self.loop).close(
            lambda: process.signal_process(self.nginx, signal.SIGQUIT)
        )
        self.loop.wait(lambda: not self.nginx, left(), tick=0.02)
        cut = connections.to_port(port) if self.nginx else 0
        process.signal_group(self.nginx, signal.SIGKILL)
        for generation in self._generations():
            generation.stop(HURRIED if cut else POLITE)
        self.loop.wait(lambda: not process.any_left(), HURRIED, tick=0.02)
        if cut:
            timeout = self.settings.graceful_timeout
            log(f"stopped; {cut} requests were cut at GRACEFUL_TIMEOUT={timeout:g}")
            return EXIT_CUT
        log("stopped; every request was answered")
        return 0

    def _kill_all(self) -> None:
        """End every process at once and wait until the last is gone."""
        self.state = "ending"
        for generation in self._generations():
            generation.kill()
        for group in (self.nginx, self.helper):
            process.signal_group(group, signal.SIGKILL)
        self.loop.wait(lambda: not process.any_left(), POLITE, tick=0.02)
