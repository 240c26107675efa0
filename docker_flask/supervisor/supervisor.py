"""Process 1 in production: signals, commands, the start, and the loop that serves."""

import json
import os
import signal
import socket
import time
from functools import partial
from typing import NoReturn

from docker_flask.plan.settings import ignored
from docker_flask.shared import process, sockets
from docker_flask.shared.log import first_line, log
from docker_flask.shared.loop import Interrupt
from docker_flask.shared.paths import OK
from docker_flask.shared.ports import answer_commands, answer_probes
from docker_flask.shared.prestart import PrestartFailed
from docker_flask.shared.setting_error import SettingError
from docker_flask.shared.task import TICK, complete
from docker_flask.supervisor.generation import RETIRE_INTERVAL
from docker_flask.supervisor.log_relay import LogRelay
from docker_flask.supervisor.reload import Reload
from docker_flask.supervisor.service import Failure, Phase, Service
from docker_flask.supervisor.slow_requests import SlowRequests
from docker_flask.supervisor.stop import EXIT_CUT, stop
from docker_flask.supervisor.wide_server import INTERVAL

# Seconds that clients wait for an application that is loading, before nginx responds with 503.
WAIT_BEFORE_503 = 3.0


class Stop(Interrupt):
    """A stop signal arrived."""


class StopAtOnce(Interrupt):
    """A second stop signal arrived."""


class Supervisor:
    """Process 1 of a container; `run` returns the exit code."""

    def __init__(
        self, service: Service, status_listeners: list[socket.socket], relay: LogRelay
    ) -> None:
        self._service = service
        self._loop = service.loop
        self._reload = Reload(service)
        self._relay = relay
        self._stop_signals = 0
        self._looked_at = 0.0
        self._slow_requests = SlowRequests()
        commands = {
            "health": lambda answer: answer(service.why_not_ready() or OK),
            "reload": self._reload.request_and_answer,
            "environment": service.prestart.answer_changes,
            "settings": lambda answer: answer(json.dumps(service.rows())),
        }
        answer_commands(service.runtime, self._loop, commands)
        pages = {"/healthy": self._why_not_healthy, "/ready": service.why_not_ready}
        answer_probes(status_listeners, self._loop, pages)

    def run(self) -> int:
        """Start, serve until a stop signal, and end all processes."""
        service = self._service
        try:
            try:
                self._loop.handle_signals(
                    {
                        signal.SIGTERM: self._on_stop,
                        signal.SIGINT: self._on_stop,
                        signal.SIGHUP: self._reload.request,
                        signal.SIGCHLD: self._on_child,
                    }
                )
                self._start()
                self._serve()
            except Stop:
                return self._stop()
        except StopAtOnce:
            log("stopping immediately")
            service.kill_all()
            return EXIT_CUT
        except (Failure, PrestartFailed, SettingError) as failure:
            service.kill_all()
            service.start_log.fails()
            log(str(failure))
            return failure.code
        except (OSError, MemoryError):
            service.kill_all()
            raise

    def _start(self) -> None:
        """Serve; raises Failure, PrestartFailed, SettingError, OSError."""
        service = self._service
        service.environment = service.prestart.run(self._loop, os.environ)
        service.start_log.notes += ignored(service.environment)
        plan, nginx = complete(self._loop, service.make_plan()), service.nginx
        if plan.nginx_files.whole is None:
            service.certificates.start(plan.settings)
        self._relay.shows_all = plan.settings.log_level == "debug"
        first = service.load(plan)
        # While the application loads, nginx tests the configuration that most applications need.
        configuration = complete(self._loop, service.configure_nginx(plan, None))
        seconds = min(WAIT_BEFORE_503, plan.settings.start_timeout)
        if not self._loop.wait(first.settled, seconds, tick=0.1):
            if not plan.settings.bind_when_ready:
                nginx.answer_503(plan, service.certificates.folder)
            self._loop.wait(first.settled, plan.settings.start_timeout - seconds, tick=0.1)
        if not first.ready():
            raise Failure(first.why_not_ready())
        steps = service.configure_nginx(first.plan, first, configuration)
        configuration = complete(self._loop, steps)
        service.switch_to(first)
        sockets.listen(service.listeners)  # for BIND_WHEN_READY=1; a second time changes nothing
        nginx.start(first.plan, configuration)
        service.phase = Phase.SERVING
        log(first_line(first.server.name))
        service.start_log.serves(first, configuration.notes)

    def _stop(self) -> int:
        try:
            self._reload.cancel()
            return stop(self._service)
        except Exception as error:
            self._loop.report(error)
            raise StopAtOnce from None

    def _serve(self) -> NoReturn:
        service = self._service
        while True:
            self._loop.turn(self._pause())
            self._loop.guard(self._reload.advance)
            # During a reload, continue: the new generation may replace the one that failed.
            if not self._reload.task and service.current and service.current.has_failed():
                raise Failure(service.current.why_not_ready())
            for generation in list(service.retiring):
                self._loop.guard(partial(service.advance_retirement, generation))
            self._loop.guard(service.restart_what_died)
            self._loop.guard(self._look)
            self._loop.guard(service.show_readiness)

    def _pause(self) -> float:
        """Seconds until the next check, if no event comes first."""
        if self._reload.task:
            return TICK
        is_soon = self._service.retiring or not self._service.is_shown_ready
        return RETIRE_INTERVAL if is_soon else INTERVAL

    def _look(self) -> None:
        """Look at what has no event: memory that ran out, nginx's workers, waiting requests."""
        now, current = time.monotonic(), self._service.current
        if current and now - self._looked_at >= INTERVAL - 0.05:
            self._looked_at = now
            if reason := self._service.memory.killed():
                current.wide.memory_ran_out(reason)
            self._service.look_at_nginx()
            current.look()
            for generation in self._service.generations():
                for server in generation.servers:
                    for pid, requests in server.slow:
                        self._slow_requests.note(pid, requests)
                    server.slow.clear()
            self._slow_requests.look(current.plan.settings.slow_request)

    def _on_stop(self) -> None:
        self._stop_signals += 1
        raise Stop if self._stop_signals == 1 else StopAtOnce

    def _on_child(self) -> None:
        for pid, status in process.reap():
            self._loop.guard(partial(self._service.child_ended, pid, status))

    def _why_not_healthy(self) -> str:
        """Which process the container lacks; empty also while it starts or stops in order."""
        return self._service.problem() if self._service.phase is Phase.SERVING else ""
