"""PID 1 in production: starts nginx and the application, keeps them running, reloads and stops."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from docker_flask import process, sockets
from docker_flask.configuration import plan
from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.plan import Plan
from docker_flask.configuration.settings import ignored
from docker_flask.log import log
from docker_flask.loop import Loop
from docker_flask.nginx.nginx import Nginx
from docker_flask.paths import OK
from docker_flask.prestart import Prestart, PrestartFailed
from docker_flask.privileges import why_not_readable
from docker_flask.servers.registry import SERVERS
from docker_flask.supervisor import retirement
from docker_flask.supervisor.control import Control
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.listener_drain import ListenerDrain
from docker_flask.supervisor.worker_pool import LOOK
from docker_flask.task import TICK, Steps, Task, Until, finish

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h: the application or a server can't run
EXIT_CUT = 75  # EX_TEMPFAIL in sysexits.h: requests in flight were cut at the stop
# The container gives up when one process has died more often than this within so many seconds.
MAX_DEATHS, DEATHS_WINDOW = 5, 60.0
# Seconds that clients wait for an application that is loading, before nginx answers 503.
START_PATIENCE = 3.0
# Seconds that an application server gets to end by itself before it is killed; and where requests
# were cut already, because Docker is about to kill the container.
STOP_PATIENCE, HURRIED_STOP_PATIENCE = 0.8, 0.2
# Below these limits, a container that serves well when idle may fail under load; its log says so.
MIN_DESCRIPTORS, MIN_BACKLOG, MIN_PROCESSES = 1024, 128, 32
# Seconds between two looks for what no signal announces: a process that was stopped with SIGSTOP,
# a socket that was deleted.
CHECK_INTERVAL = 2.0


class Stop(Exception):
    """The container has to stop."""


class StopAtOnce(Exception):
    """A second stop signal came."""


class Failure(Exception):
    """The container can't go on."""

    code = EXIT_NOT_SERVING


class Supervisor:
    """Runs one container's life; `run` returns the exit code."""

    def __init__(self, limits: Limits, runtime: Path, listeners: list[socket.socket]) -> None:
        self.limits = limits
        self.runtime = runtime
        self.listeners = listeners
        self.environment = dict(os.environ)
        self.loop = Loop()
        self.state = "starting"
        self.prestart = Prestart()
        self.nginx = Nginx(self.loop, runtime, listeners)

        # The generation that nginx connects to, and the one that is being loaded. Old ones answer
        # the requests that they have: the one that a reload has just replaced, and those before it.
        self.number = 0
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.replaced: Generation | None = None
        self.retiring: dict[Generation, Task] = {}
        # How many workers there are, in words; logged when they change.
        self.workers = ""

        self.stops_asked = 0
        self.reload: Task | None = None
        self.reload_wanted = False
        self.reload_answers: list[Callable[[str], None]] = []
        self.deaths: dict[str, list[float]] = defaultdict(list)
        self.checked_at = self.resized_at = 0.0
        self.stopped_before: set[int] = set()

    def run(self) -> int:
        """Start, serve until told to stop, and leave nothing behind."""
        try:
            try:
                self._listen()
                self._start()
                self._serve()
            except Stop:
                return self._stop()
        except StopAtOnce:
            log("second stop signal: stopping immediately")
            self._kill_all()
            return EXIT_CUT
        except (Failure, PrestartFailed, SettingError) as failure:
            self._kill_all()
            log(str(failure))
            return failure.code
        return 0

    def _listen(self) -> None:
        """Take signals and commands from now on."""
        self.loop.handle_signals(
            {
                signal.SIGTERM: self._on_stop,
                signal.SIGINT: self._on_stop,
                signal.SIGHUP: self._on_reload,
                signal.SIGCHLD: self._on_child,
            }
        )
        commands = {"health": self._answer_health, "reload": self._answer_reload}
        Control(self.runtime, self.loop, commands)

    # --- start -----------------------------------------------------------------------------

    def _start(self) -> None:
        if problem := why_not_readable(Path.cwd()):
            raise Failure(problem)
        self._warn_of_limits()
        self.environment = self.prestart.run(self.loop, self.environment)
        for sentence in ignored(self.environment):
            log(sentence)
        first = self._load(plan.make(self.environment, self.limits))
        # While the application loads, nginx's configuration is tested.
        self.nginx.assume_static(first.plan)
        configuration = self.nginx.prepare(first.plan, first.number)
        start_timeout = first.plan.settings.start_timeout
        patience = min(START_PATIENCE, start_timeout)
        if not self.loop.wait(first.settled, patience, tick=0.1):
            self.nginx.answer_503(first.plan, configuration)
            self.loop.wait(first.settled, start_timeout - patience, tick=0.1)
        if not first.ready():
            raise Failure(first.why_not_ready())
        self._switch_to(first)
        configuration = self.nginx.prepare(first.plan, first.number, configuration)
        self.nginx.start(first.plan, configuration)
        self.state = "serving"

    def _warn_of_limits(self) -> None:
        limits = self.limits
        tight = []
        if limits.descriptors < MIN_DESCRIPTORS:
            tight.append(f"{limits.descriptors} open files (ulimit -n)")
        if limits.backlog < MIN_BACKLOG:
            tight.append(f"{limits.backlog} waiting connections (net.core.somaxconn)")
        if 0 < limits.processes < MIN_PROCESSES:
            tight.append(f"{limits.processes} processes (--pids-limit)")
        if tight:
            log(
                f"low limits: {', '.join(tight)}; raise them, "
                "or the container may refuse requests under load"
            )

    # --- generations of the application ----------------------------------------------------

    def _load(self, made: Plan) -> Generation:
        """Start a generation beside the current one."""
        server = SERVERS[made.settings.app_server]
        if made.ignored_options:
            options = ", ".join(made.ignored_options)
            log(f"ignored options for {server.name}, because the image sets them: {options}")
        self.number += 1
        self.candidate = Generation(self.number, self.runtime, server, self.loop, made)
        self._start_server(self.candidate)
        return self.candidate

    def _start_server(self, generation: Generation) -> None:
        """Start a generation's server, also again after one that died."""
        nginx, made = self.nginx, generation.plan
        serves_beside = bool(self.current) and generation is not self.current
        generation.start(
            client_header=nginx.client_header(made),
            sendfile_location=nginx.sendfile_location(made),
            cache_size=nginx.cache_size(made),
            load_one_by_one=serves_beside,
        )

    def _switch_to(self, fresh: Generation) -> None:
        """Let a generation that is ready serve."""
        fresh.point(self.runtime / "app.sock")
        if self.current:
            self.replaced = self.current
            self.nginx.forget_pages()
        self.current, self.candidate = fresh, None
        self.nginx.link_static(fresh.static, fresh.number)
        if fresh.static_words:
            log(fresh.static_words)
        self._log_workers(fresh)
        ports = ", ".join(map(str, sockets.ports(self.listeners)))
        shared = (
            "; loaded once (PRELOAD=1), its workers share the connections opened at import"
            if fresh.plan.settings.preload
            else ""
        )
        log(f"serving {fresh.loaded} on port {ports}{shared}")

    def _log_workers(self, generation: Generation) -> None:
        words = generation.describe_workers()
        if words != self.workers:
            log(words)
        self.workers = words

    def _generations(self) -> Iterator[Generation]:
        yield from self.retiring
        for generation in (self.replaced, self.current, self.candidate):
            if generation:
                yield generation

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
            answer(f"can't reload while the container is {self.state}")
            return
        self.reload_answers.append(answer)
        self.reload_wanted = True

    def _answer_health(self, answer: Callable[[str], None]) -> None:
        serves = self.state == "serving" and self.nginx.pid
        answer(OK if serves else f"the container is {self.state}")

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.prestart.pid:
                self.prestart.ended(status)
            elif pid == self.nginx.pid:
                self._nginx_ended(status)
            else:
                for generation in list(self._generations()):
                    if pid == generation.pid:
                        self._server_ended(generation, status)

    # --- deaths ----------------------------------------------------------------------------

    def _nginx_ended(self, status: int) -> None:
        reason = self.nginx.ended(status)
        if self.state not in ("stopping", "ending"):
            self._count_death("nginx", reason)
            self.nginx.restart()

    def _server_ended(self, generation: Generation, status: int) -> None:
        reason = generation.ended(status)
        if self.state in ("stopping", "ending"):
            return
        if generation is self.candidate:
            generation.fail(reason)
        elif generation is self.current:
            self._count_death(generation.server.name, reason)
            # The new server takes the socket where connections wait. Workers that outlived the old
            # one answer what they have, see that it is gone, and end.
            self._start_server(generation)

    def _count_death(self, name: str, reason: str) -> None:
        now = time.monotonic()
        recent = [moment for moment in self.deaths[name] if now - moment < DEATHS_WINDOW]
        self.deaths[name] = [*recent, now]
        if len(self.deaths[name]) > MAX_DEATHS:
            count = len(self.deaths[name])
            raise Failure(f"{reason}, {count} times within a minute; stopping the container")
        log(f"{reason}; restarting {name}")

    # --- serve -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self.loop.turn(self._pause())
            if self.reload and self.reload.advance():
                self.reload = None
            # A reload may replace a generation that can't load any more.
            if not self.reload and self.current and self.current.failure:
                raise Failure(self.current.failure)
            if self.reload_wanted and not self.reload:
                self.reload_wanted = False
                self.reload = Task(self._reload())
            for generation, task in list(self.retiring.items()):
                if task.advance():
                    del self.retiring[generation]
            self._resize()
            self._check_processes()

    def _pause(self) -> float:
        """Seconds until the loop has to turn, should nothing happen."""
        if self.reload:
            return TICK
        return retirement.LOOK if self.retiring else self._resize_interval()

    def _resize_interval(self) -> float:
        return self.current.pool.pause if self.current and self.current.pool else LOOK

    def _resize(self) -> None:
        now = time.monotonic()
        if self.current and now - self.resized_at >= self._resize_interval() - 0.05:
            self.resized_at = now
            self.current.resize()

    def _check_processes(self) -> None:
        now = time.monotonic()
        if now - self.checked_at < CHECK_INTERVAL:
            return
        self.checked_at = now
        self._end_stopped()
        if self.current and not (self.runtime / "app.sock").exists():
            log("the application's socket was deleted; reloading to create a new one")
            self.reload_wanted = True

    def _end_stopped(self) -> None:
        """Kill what was stopped with SIGSTOP, so that it is replaced."""
        groups = {self.nginx.pid, *(group for g in self._generations() for group in g.groups)}
        stopped = {pid for pid, state in process.states(groups).items() if state == "T"}
        for pid in stopped & self.stopped_before:
            log(f"process {pid} is stopped (SIGSTOP); killing it, so that a new one replaces it")
            process.signal_process(pid, signal.SIGKILL)
        self.stopped_before = stopped

    # --- reload ----------------------------------------------------------------------------

    def _reload(self) -> Steps[None]:
        """Replace the current generation by a new one; the current one serves until then."""
        answers, self.reload_answers = self.reload_answers, []
        log("reload: loading a new generation, the current generation keeps serving")
        problem = yield from self._replace_current()
        outcome = f"reload failed, keeping the previous generation: {problem}" if problem else OK
        if problem:
            log(outcome)
        for answer in answers:
            answer(outcome)

    def _replace_current(self) -> Steps[str]:
        """Returns why the current generation stays; empty if a new one serves."""
        old = self.current
        try:
            made = plan.make(self.environment, self.limits)
            configuration = self.nginx.prepare(made, self.number + 1)
            fresh = self._load(made)
        except (SettingError, OSError) as error:  # OSError: a full disk, for example
            return str(error)
        settings = made.settings
        yield Until(lambda: fresh.settled(settings.first_workers), settings.start_timeout)
        if not fresh.ready():
            self.candidate = None
            fresh.kill()
            return fresh.why_not_ready()
        if old and old.plan.keeps_connections:
            # Each client's next request comes on another connection, and so does nginx's: no
            # client gets an answer of the old generation after one of the new.
            self.nginx.send_clients_away()
        try:
            self._switch_to(fresh)
        except OSError as error:
            self.candidate = None
            fresh.kill()
            return str(error)
        try:
            configuration = self.nginx.prepare(made, fresh.number, configuration)
        except (SettingError, OSError) as error:
            # Clients are still sent away where nginx keeps connections: those that it has lead to
            # the old generation.
            log(f"nginx reload failed, keeping the previous configuration: {error}")
        else:
            yield from self.nginx.reload(made, configuration)
        if self.replaced:
            self.retiring[self.replaced] = Task(retirement.retire(self.replaced, self.nginx))
            self.replaced = None
        return ""

    # --- stop ------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Answer everything that was accepted, then end everything."""
        if not self.current or self.state != "serving":
            self.state = "stopping"
            log("stopping before the start is complete")
            self._kill_all()
            return 0
        begun, settings = time.monotonic(), self.current.plan.settings

        def left() -> float:
            return max(0.0, begun + settings.graceful_timeout - time.monotonic())

        self.state = "stopping"
        log("stopping")
        if self.reload:
            self.reload.cancel()
        if self.candidate:
            self.candidate.kill()
            self.candidate = None
        self.nginx.send_clients_away()
        drain = min(settings.drain_delay, left())
        self.loop.wait(lambda: not self.nginx.clients(), drain, tick=TICK)
        drain_of_listeners = ListenerDrain(self.listeners, self.loop)
        turned_away = drain_of_listeners.close(self.nginx.quit, left() / 2)
        self.loop.wait(lambda: not self.nginx.pid, left(), tick=TICK)
        cut = self.nginx.clients() if self.nginx.pid else 0
        self.nginx.kill()
        patience = HURRIED_STOP_PATIENCE if cut else STOP_PATIENCE
        finish(self.loop, *(generation.stop(patience) for generation in self._generations()))
        self.loop.wait(lambda: not process.any_left(), HURRIED_STOP_PATIENCE, tick=TICK)
        if cut:
            timeout = settings.graceful_timeout
            log(f"stopped; {cut} requests were cut after GRACEFUL_TIMEOUT={timeout:g} seconds")
            return EXIT_CUT
        log(
            f"stopped; {turned_away} waiting connections got 503 with Retry-After"
            if turned_away
            else "stopped; every request was answered"
        )
        return 0

    def _kill_all(self) -> None:
        """End every process at once and wait until the last is gone."""
        self.state = "ending"
        for generation in list(self._generations()):
            generation.kill()
        self.nginx.kill()
        process.signal_group(self.prestart.pid, signal.SIGKILL)
        self.loop.wait(lambda: not process.any_left(), STOP_PATIENCE, tick=TICK)
