"""Process 1 in production: signals, commands, and the loop that serves."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from docker_flask import process
from docker_flask.configuration.validators import SettingError
from docker_flask.first_process.control_port import ControlPort
from docker_flask.first_process.loop import Interrupt
from docker_flask.first_process.prestart import PrestartFailed
from docker_flask.first_process.task import TICK
from docker_flask.log import log
from docker_flask.paths import OK
from docker_flask.status.http_port import HttpPort, check
from docker_flask.supervisor import retirement
from docker_flask.supervisor.log_filter import LogFilter
from docker_flask.supervisor.reload import Reload
from docker_flask.supervisor.service import Failure, Phase, Service
from docker_flask.supervisor.start import start
from docker_flask.supervisor.stop import EXIT_CUT, stop
from docker_flask.supervisor.worker_pool import INTERVAL


class Stop(Interrupt):
    """A stop signal arrived."""


class StopAtOnce(Interrupt):
    """A second stop signal arrived."""


class Supervisor:
    """Process 1 of a container; `run` returns the exit code."""

    def __init__(
        self, service: Service, status_listeners: list[socket.socket], log_filter: LogFilter
    ) -> None:
        self._service = service
        self._loop = service.loop
        self._reload = Reload(service)
        self._log_filter = log_filter
        self._stop_signals = 0
        self._resized_at = 0.0
        self._listen(status_listeners)

    def run(self) -> int:
        """Start, serve until a stop signal, and end all processes."""
        service = self._service
        try:
            try:
                self._handle_signals()
                start(service, self._log_filter)
                self._serve()
            except Stop:
                self._reload.cancel()
                return stop(service)
        except StopAtOnce:
            log("second stop signal: stopping immediately")
            service.kill_all()
            return EXIT_CUT
        except (Failure, PrestartFailed, SettingError) as failure:
            service.kill_all()
            service.start_log.fails()
            log(str(failure))
            return failure.code

    def _serve(self) -> NoReturn:
        service = self._service
        while True:
            self._loop.turn(self._pause())
            self._loop.guard(self._reload.advance)
            # During a reload, continue: the new generation may replace the one that failed.
            if not self._reload.is_running and service.current and service.current.failure:
                raise Failure(service.current.failure)
            for generation in list(service.retiring):
                self._loop.guard(partial(service.advance_retirement, generation))
            self._loop.guard(self._resize)

    def _pause(self) -> float:
        """Seconds until the next check, if no event comes first."""
        if self._reload.is_running:
            return TICK
        return retirement.RETIRE_INTERVAL if self._service.retiring else INTERVAL

    def _resize(self) -> None:
        now, current = time.monotonic(), self._service.current
        if current and now - self._resized_at >= INTERVAL - 0.05:
            self._resized_at = now
            current.resize()

    # --- signals and commands --------------------------------------------------------------

    def _handle_signals(self) -> None:
        self._loop.handle_signals(
            {
                signal.SIGTERM: self._on_stop,
                signal.SIGINT: self._on_stop,
                signal.SIGHUP: self._reload.request,
                signal.SIGCHLD: self._on_child,
            }
        )

    def _listen(self, status_listeners: list[socket.socket]) -> None:
        commands = {
            "health": self._answer_health,
            "reload": self._reload.request_and_answer,
            "environment": self._service.prestart.answer_changes,
            "settings": self._answer_settings,
        }
        ControlPort(self._service.runtime, self._loop, commands)
        pages = {
            "/healthy": lambda: check(self._why_not_healthy()),
            "/ready": lambda: check(self._why_not_ready()),
        }
        HttpPort(status_listeners, self._loop, pages)

    def _on_stop(self) -> None:
        if self._service.phase is Phase.ENDING:
            return
        self._stop_signals += 1
        raise Stop if self._stop_signals == 1 else StopAtOnce

    def _on_child(self) -> None:
        for pid, status in process.reap():
            self._loop.guard(partial(self._service.child_ended, pid, status))

    def _answer_health(self, answer: Callable[[str], None]) -> None:
        answer(self._why_not_ready() or OK)

    def _answer_settings(self, answer: Callable[[str], None]) -> None:
        """Respond with the settings of the generation that serves, or of the first that loads."""
        generation = self._service.current or self._service.candidate
        answer(json.dumps(generation.plan.rows() if generation else []))

    def _why_not_ready(self) -> str:
        """Why requests should go to another container; empty if they may come here."""
        phase = self._service.phase
        if phase is not Phase.SERVING:
            return f"the container is {phase.value}"
        return self._service.problem()

    def _why_not_healthy(self) -> str:
        """Which process the container lacks; empty also while it starts or stops in order."""
        return self._service.problem() if self._service.phase is Phase.SERVING else ""
