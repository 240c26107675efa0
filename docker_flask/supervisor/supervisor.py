"""PID 1 in production: starts nginx and the application, keeps them running, reloads and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from docker_flask import about, process
from docker_flask.configuration import plan
from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import Found
from docker_flask.configuration.plan import Plan
from docker_flask.configuration.settings import ignored, too_late
from docker_flask.first_process import sockets
from docker_flask.first_process.control_port import ControlPort
from docker_flask.first_process.loop import Interrupt, Loop
from docker_flask.first_process.prestart import Prestart, PrestartFailed
from docker_flask.first_process.task import TICK, Steps, Task, Until, finish
from docker_flask.log import log
from docker_flask.nginx.nginx import Nginx
from docker_flask.paths import OK, STOPPING
from docker_flask.servers.registry import SERVERS
from docker_flask.status.http_port import HttpPort, check
from docker_flask.supervisor import retirement
from docker_flask.supervisor.generation import STOP_TIMEOUT, Generation
from docker_flask.supervisor.listener_drain import ListenerDrain
from docker_flask.supervisor.log_filter import LogFilter
from docker_flask.supervisor.worker_pool import RESIZE_INTERVAL

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h: the application or a server can't run
EXIT_CUT = 75  # EX_TEMPFAIL in sysexits.h: the stop cut running requests
# The container stops if one process dies more often than this within these seconds.
MAX_DEATHS, DEATHS_WINDOW = 5, 60.0
# Lines about what is unusual: eight lines of a start in all.
MAX_NOTES = 3
# Seconds that clients wait for an application that is loading, before nginx responds with 503.
WAIT_BEFORE_503 = 3.0
# Seconds that a server gets to stop after requests were cut: Docker will kill the container soon.
SHORT_STOP_TIMEOUT = 0.2
# Seconds that nginx gets to accept the queue at a stop. It accepts thousands a second: if it needs
# longer, the container has too much load, and the rest of the time is better spent on responses.
QUEUE_TIMEOUT = 2.0
# Limits below these values can cause failures under load; the log warns about them.
MIN_DESCRIPTORS, MIN_BACKLOG, MIN_PROCESSES = 1024, 128, 32


class Stop(Interrupt):
    """A stop signal arrived."""


class StopAtOnce(Interrupt):
    """A second stop signal arrived."""


class Failure(Interrupt):
    """The container can't continue."""

    code = EXIT_NOT_SERVING


class Supervisor:
    """Process 1 of a container; `run` returns the exit code."""

    def __init__(
        self,
        limits: Limits,
        runtime: Path,
        listeners: list[socket.socket],
        status_listeners: list[socket.socket],
        early: Mapping[str, Found],
        log_filter: LogFilter,
    ) -> None:
        """early: the settings that were read before prestart.sh; log_filter: of all processes."""
        self.limits = limits
        self.runtime = runtime
        self.listeners = listeners
        self.status_listeners = status_listeners
        self.environment = dict(os.environ)
        self.early = early
        self.log_filter = log_filter
        self.loop = Loop()
        self.state = "starting"
        self.prestart = Prestart()
        self.nginx = Nginx(self.loop, runtime, listeners)

        # current: nginx connects to this generation. candidate: it is loading. replaced: the reload
        # in progress has just replaced it. retiring: older generations that finish their requests.
        self.number = 0
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.replaced: Generation | None = None
        self.retiring: dict[Generation, Task] = {}
        # What is unusual about the generation that loads, and what the log says about the current.
        self.notes: list[str] = []
        self.said: list[str] = []

        self.stop_signals = 0
        self.reload: Task | None = None
        self.reload_wanted = False
        self.reload_answers: list[Callable[[str], None]] = []
        self.deaths: dict[str, list[float]] = defaultdict(list)
        self.resized_at = 0.0

    def run(self) -> int:
        """Start, serve until a stop signal, and end all processes."""
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
            self._log_notes()
            log(str(failure))
            return failure.code
        return 0

    def _listen(self) -> None:
        """Handle signals and commands."""
        self.loop.handle_signals(
            {
                signal.SIGTERM: self._on_stop,
                signal.SIGINT: self._on_stop,
                signal.SIGHUP: self._on_reload,
                signal.SIGCHLD: self._on_child,
            }
        )
        commands = {
            "health": self._answer_health,
            "reload": self._answer_reload,
            "environment": self.prestart.answer_changes,
            "settings": self._answer_settings,
        }
        ControlPort(self.runtime, self.loop, commands)
        pages = {
            "/healthy": lambda: check(self._why_not_healthy()),
            "/ready": lambda: check(self._why_not_ready()),
        }
        HttpPort(self.status_listeners, self.loop, pages)

    # --- start -----------------------------------------------------------------------------

    def _start(self) -> None:
        self._note_limits()
        self.environment = self.prestart.run(self.loop, os.environ)
        self.notes += [*too_late(os.environ, self.environment), *ignored(self.environment)]
        first = self._load(plan.make(self.environment, self.limits, self.early))
        self.log_filter.shows_all = first.plan.settings.is_verbose
        # While the application loads, nginx's configuration is tested.
        self.nginx.assume_static(first.plan)
        configuration = self.nginx.prepare(first.plan)
        start_timeout = first.plan.settings.start_timeout
        seconds = min(WAIT_BEFORE_503, start_timeout)
        if not self.loop.wait(first.settled, seconds, tick=0.1):
            if not first.plan.settings.bind_when_ready:
                self.nginx.answer_503(first.plan, configuration)
            self.loop.wait(first.settled, start_timeout - seconds, tick=0.1)
        if not first.ready():
            raise Failure(first.why_not_ready())
        self._switch_to(first)
        configuration = self.nginx.prepare(first.plan, configuration)
        sockets.listen(self.listeners)  # for BIND_WHEN_READY=1; a second time changes nothing
        self.nginx.start(first.plan, configuration)
        self.state = "serving"
        log(about.line(first.server.name))
        self._log_switch(first, configuration.notes)

    def _note_limits(self) -> None:
        if os.geteuid() == 0:
            self.notes.append("the application runs as root, because RUN_AS_ROOT=1")
        limits = self.limits
        tight = []
        if limits.descriptors < MIN_DESCRIPTORS:
            tight.append(f"{limits.descriptors} open files (ulimit -n)")
        if limits.backlog < MIN_BACKLOG:
            tight.append(f"{limits.backlog} waiting connections (net.core.somaxconn)")
        if 0 < limits.processes < MIN_PROCESSES:
            tight.append(f"{limits.processes} processes (--pids-limit)")
        if tight:
            self.notes.append(
                f"low limits: {', '.join(tight)}; raise them, "
                "or the container may refuse requests under load"
            )

    # --- generations of the application ----------------------------------------------------

    def _load(self, new_plan: Plan) -> Generation:
        """Start a new generation; the current generation keeps serving."""
        server = SERVERS[new_plan.settings.app_server]
        if new_plan.ignored_options:
            options = ", ".join(new_plan.ignored_options)
            self.notes.append(
                f"ignored options for {server.name}, because the image sets them: {options}"
            )
        self.number += 1
        self.candidate = Generation(self.number, self.runtime, server, self.loop, new_plan)
        self._start_server(self.candidate)
        return self.candidate

    def _start_server(self, generation: Generation) -> None:
        """Start a generation's server, or start it again after a crash."""
        nginx, its_plan = self.nginx, generation.plan
        another_serves = bool(self.current) and generation is not self.current
        generation.start(
            sendfile_location=nginx.sendfile_location(its_plan),
            cache_size=nginx.cache_size(its_plan),
            load_one_by_one=another_serves,
        )

    def _switch_to(self, fresh: Generation) -> None:
        """Let a ready generation serve."""
        fresh.point(self.runtime / "app.sock")
        if self.current:
            self.replaced = self.current
            self.nginx.forget_pages()
        self.current, self.candidate = fresh, None
        self.nginx.link_static(fresh.static, fresh.number)

    def _log_switch(self, fresh: Generation, nginx_notes: list[str]) -> None:
        """Log what serves now; after a reload, only what has changed."""
        self.notes += [*nginx_notes, *fresh.notes]
        if len(self.notes) > MAX_NOTES:
            self.notes[MAX_NOTES - 1 :] = ["; ".join(self.notes[MAX_NOTES - 1 :])]
        lines = [fresh.found, fresh.describe_workers(), fresh.static_files, *self.notes]
        for line in lines:
            if line and line not in self.said:
                log(line)
        self.said, self.notes = lines, []
        ports = ", ".join(map(str, sockets.ports(self.listeners)))
        shared = (
            "; loaded once (PRELOAD=1), its workers share the connections opened at import"
            if fresh.plan.settings.preload
            else ""
        )
        log(f"serving {fresh.loaded} on port {ports}{shared}")

    def _log_notes(self) -> None:
        """Log what may explain why a generation does not serve."""
        for note in self.notes:
            log(note)
        self.notes = []

    def _generations(self) -> Iterator[Generation]:
        yield from self.retiring
        for generation in (self.replaced, self.current, self.candidate):
            if generation:
                yield generation

    # --- signals and commands --------------------------------------------------------------

    def _on_stop(self) -> None:
        if self.state == "ending":
            return
        self.stop_signals += 1
        raise Stop if self.stop_signals == 1 else StopAtOnce

    def _on_reload(self) -> None:
        self.reload_wanted = True

    def _answer_reload(self, answer: Callable[[str], None]) -> None:
        if self.state != "serving":
            answer(f"can't reload while the container is {self.state}")
            return
        self.reload_answers.append(answer)
        self.reload_wanted = True

    def _answer_health(self, answer: Callable[[str], None]) -> None:
        answer(self._why_not_ready() or OK)

    def _answer_settings(self, answer: Callable[[str], None]) -> None:
        """Respond with the settings of the generation that serves, or of the first that loads."""
        generation = self.current or self.candidate
        answer(json.dumps(generation.plan.rows() if generation else []))

    def _why_not_ready(self) -> str:
        """Why requests should go to another container; empty if they may come here."""
        return (
            f"the container is {self.state}" if self.state != "serving" else self._ended_process()
        )

    def _why_not_healthy(self) -> str:
        """Which process the container lacks; empty also while it starts or stops in order."""
        return self._ended_process() if self.state == "serving" else ""

    def _ended_process(self) -> str:
        if not self.nginx.pid:
            return "nginx has ended"
        return "" if self.current and self.current.pid else "the application server has ended"

    def _on_child(self) -> None:
        for pid, status in process.reap():
            self.loop.guard(partial(self._child_ended, pid, status))

    def _child_ended(self, pid: int, status: int) -> None:
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
            try:
                self.nginx.restart()
            except OSError as error:
                raise Failure(f"nginx can't start again: {error.strerror}") from None

    def _server_ended(self, generation: Generation, status: int) -> None:
        reason = generation.ended(status)
        if self.state in ("stopping", "ending"):
            return
        if generation is self.candidate:
            generation.fail(reason)
        elif generation is self.current:
            self._count_death(generation.server.name, reason)
            # The new server inherits the socket, with the queued connections. Workers of the old
            # server finish their requests, notice that their server has ended, and end.
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
            self.loop.guard(self._advance_reload)
            # During a reload, continue: the new generation may replace the one that failed.
            if not self.reload and self.current and self.current.failure:
                raise Failure(self.current.failure)
            for generation in list(self.retiring):
                self.loop.guard(partial(self._advance_retirement, generation))
            self.loop.guard(self._resize)

    def _advance_reload(self) -> None:
        if self.reload and self.reload.advance():
            self.reload = None
        if self.reload_wanted and not self.reload:
            self.reload_wanted = False
            self.reload = Task(self._reload())

    def _advance_retirement(self, generation: Generation) -> None:
        has_ended = True
        try:
            has_ended = self.retiring[generation].advance()
        finally:
            if has_ended:
                del self.retiring[generation]
                generation.kill()

    def _pause(self) -> float:
        """Seconds until the next check, if no event comes first."""
        if self.reload:
            return TICK
        return retirement.RETIRE_INTERVAL if self.retiring else self._resize_interval()

    def _resize_interval(self) -> float:
        return self.current.pool.pause if self.current and self.current.pool else RESIZE_INTERVAL

    def _resize(self) -> None:
        now = time.monotonic()
        if self.current and now - self.resized_at >= self._resize_interval() - 0.05:
            self.resized_at = now
            self.current.resize()

    # --- reload ----------------------------------------------------------------------------

    def _reload(self) -> Steps[None]:
        """Replace the current generation with a new one; the current one serves meanwhile."""
        answers, self.reload_answers = self.reload_answers, []
        log("reload: loading a new generation, the current generation keeps serving")
        try:
            problem = yield from self._replace_current()
        except (SettingError, OSError) as error:  # OSError: a full disk, for example
            problem = str(error)
        except Exception as error:
            self.loop.report(error)
            problem = f"internal error: {error!r}"
        if self.candidate:
            self.candidate.kill()
            self.candidate = None
        if self.replaced:
            # Only one old generation keeps its WebSockets, because each needs memory.
            for older in self.retiring:
                older.close_web_sockets()
            self.retiring[self.replaced] = Task(retirement.retire(self.replaced, self.nginx))
            self.replaced = None
        if problem:
            problem = f"reload failed, keeping the previous generation: {problem}"
            self._log_notes()
            log(problem)
        for answer in answers:
            answer(problem or OK)

    def _replace_current(self) -> Steps[str]:
        """Returns why the current generation stays; empty if the new generation serves."""
        new_plan = plan.make(self.environment, self.limits, self.early)
        configuration = self.nginx.prepare(new_plan)
        fresh = self._load(new_plan)
        settings = new_plan.settings
        yield Until(lambda: fresh.settled(settings.first_workers), settings.start_timeout)
        if not fresh.ready():
            return fresh.why_not_ready()
        self._switch_to(fresh)
        try:
            configuration = self.nginx.prepare(new_plan, configuration)
        except (SettingError, OSError) as error:
            self._log_switch(fresh, [])
            log(f"nginx reload failed, keeping the previous configuration: {error}")
        else:
            self._log_switch(fresh, configuration.notes)
            yield from self.nginx.reload(new_plan, configuration)
        return ""

    # --- stop ------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Finish all accepted requests, then end all processes."""
        if not self.current or self.state != "serving":
            self.state = "stopping"
            self._log_notes()
            log("stopping before the start is complete")
            self._kill_all()
            return 0
        started, settings = time.monotonic(), self.current.plan.settings

        def left() -> float:
            return max(0.0, started + settings.graceful_timeout - time.monotonic())

        self.state = "stopping"
        (self.runtime / STOPPING).touch()
        log("stopping")
        if self.reload:
            self.reload.cancel()
        if self.candidate:
            self.candidate.kill()
            self.candidate = None
        self.nginx.send_clients_away()
        drain = min(settings.drain_delay, left())
        always = self.current.plan.drains_without_clients
        self.loop.wait(lambda: not (always or self.nginx.clients()), drain, tick=TICK)
        for generation in self._generations():
            generation.close_web_sockets()
        listener_drain = ListenerDrain(self.listeners, self.loop)
        rejected = listener_drain.close(self.nginx.quit, min(QUEUE_TIMEOUT, left() / 2))
        while self.nginx.pid and left():
            # Nobody waits for a request whose client has left.
            is_last = not self.nginx.clients()
            self.loop.wait(lambda: not self.nginx.pid, min(STOP_TIMEOUT, left()), tick=TICK)
            if is_last:
                break
        cut = self.nginx.clients() if self.nginx.pid else 0
        self.nginx.kill()
        timeout = SHORT_STOP_TIMEOUT if cut else STOP_TIMEOUT
        finish(self.loop, *(generation.stop(timeout) for generation in self._generations()))
        self.loop.wait(lambda: not process.any_left(), SHORT_STOP_TIMEOUT, tick=TICK)
        if cut:
            limit = f"GRACEFUL_TIMEOUT={settings.graceful_timeout:g}"
            log(f"stopped; {cut} requests were cut after {limit} seconds")
            return EXIT_CUT
        log(
            f"stopped; {rejected} waiting connections got 503 with Retry-After"
            if rejected
            else "stopped; every request was answered"
        )
        return 0

    def _kill_all(self) -> None:
        """Kill all processes and wait until the last one has ended."""
        self.state = "ending"
        for generation in list(self._generations()):
            generation.kill()
        self.nginx.kill()
        process.signal_group(self.prestart.pid, signal.SIGKILL)
        self.loop.wait(lambda: not process.any_left(), STOP_TIMEOUT, tick=TICK)
