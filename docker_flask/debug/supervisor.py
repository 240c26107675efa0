"""PID 1 in debug mode: starts the development server, and again at every edit.

The server is a child that holds no state worth keeping. The socket is bound here, so that a
browser that asks while the child restarts waits instead of being refused, and whatever breaks
the child, a syntax error or a segfault, is mended by the next edit.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import termios
import time
from pathlib import Path
from typing import Any

from docker_flask import notify, process
from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.settings import Settings, ignored, read, resolve
from docker_flask.debug.source_watcher import Sources
from docker_flask.log import log
from docker_flask.loop import Loop
from docker_flask.paths import PYTHON
from docker_flask.prestart import Prestart, PrestartFailed
from docker_flask.privileges import why_not_readable
from docker_flask.worker_options import DebugOptions

# Seconds between two looks at the sources: so many times what a look takes, within these bounds.
# Thousands of files, or slow ones, are looked at for 3 % of the time.
LOOK_EVERY, LOOK_AT_LEAST_EVERY, LOOKS_APART = 0.4, 1.0, 32
# Ctrl-C ends this process, which ends the child; of itself, the child would show a traceback.
DEAF_TO_CTRL_C = ["/usr/bin/env", "--ignore-signal=INT"]
# What the child gets to answer what it has accepted.
POLITE = 0.5


class DebugServer:
    """Runs the development server on a port until told to stop; `run` returns the exit code."""

    def __init__(self, port: int, settings: Settings, limits: Limits) -> None:
        self.port = port
        self.settings = settings
        self.limits = limits
        self.environment = dict(os.environ)
        self.pin = ""
        self.prestart = Prestart()
        self.root = Path.cwd()
        self.sources = Sources(str(self.root))
        self.loop = Loop()
        self.listener = socket.create_server(("0.0.0.0", port), backlog=128)
        self.channel, self.childs_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self.terminal = _terminal()
        self.exit_code: int | None = None
        self.child = 0
        self.problem = ""  # what the child shows instead of the application
        self.serving = False  # the child has loaded that
        self.waiting = False  # it has died, and the next request starts it again

    def run(self) -> int:
        """Serve, and restart the child whenever the source differs from what it loaded."""
        self.loop.handle_signals(
            {
                signal.SIGTERM: lambda: self._stop(0),
                signal.SIGINT: lambda: self._stop(130),
                signal.SIGHUP: lambda: None,
                signal.SIGCHLD: self._on_child,
            }
        )
        self.loop.watch(self.channel, self._on_message)
        try:
            self._prepare()
        except (PrestartFailed, SettingError) as failure:
            log(str(failure))
            return failure.code
        while self.exit_code is None:
            self.sources.remember()
            self._start_child()
            if edited := self._wait_for_edit():
                log(f"{edited} has changed; reloading")
            self._end_child()
        return self.exit_code

    def _prepare(self) -> None:
        """Do what comes once, before the application. Raises PrestartFailed, SettingError."""
        self.environment = self.prestart.run(self.loop, self.environment, self._stopped)
        if self._stopped():
            process.signal_group(self.prestart.pid, signal.SIGKILL)
            return
        self.settings = resolve(read(self.environment), self.limits).settings
        for sentence in ignored(self.environment, production=False):
            log(sentence)
        log(
            f"development server on port {self.port}, reloaded at every edit in {self.root}. "
            "Its debugger runs any code that is typed into it: not for production."
        )
        self.pin = self.settings.werkzeug_debug_pin or _new_pin()
        log(f"debugger PIN: {self.pin}")
        if problem := why_not_readable(self.root):
            log(problem)

    def _wait_for_edit(self) -> str | None:
        """The first file that was edited; None when told to stop."""
        while self.exit_code is None:
            begun = time.monotonic()
            if edited := self.sources.edited():
                return edited
            pause = pause_after(time.monotonic() - begun)
            self.loop.wait(self._stopped, pause)
        return None

    # --- the child -------------------------------------------------------------------------

    def _start_child(self, problem: str = "") -> None:
        """problem: to be shown instead of the application."""
        self.problem, self.serving = problem, False
        self.child = process.spawn(
            [*DEAF_TO_CTRL_C, PYTHON, "-m", "docker_flask.debug.server"],
            {**self.environment, **self._environment()},
            [self.listener.fileno(), self.childs_end.fileno()],
            # The terminal's own group, or breakpoint() could not read from it.
            own_group=False,
        )

    def _environment(self) -> dict[str, str]:
        options = DebugOptions(
            notify_fd=process.FIRST_DESCRIPTOR + 1,
            trusted_proxies=self.settings.trusted_proxies or (),
            debug_hosts=self.settings.debug_hosts or (),
            problem=self.problem,
        )
        return {
            **options.to_environment(),
            "FLASK_DEBUG": "1",
            # Python takes a compiled file for up to date when size and second of its source fit:
            # of two quick edits the second would not be seen. It also keeps the source tree clean.
            "PYTHONDONTWRITEBYTECODE": "1",
            # A segfault shows where it was.
            "PYTHONFAULTHANDLER": "1",
            # What applications ask, to start something once under Werkzeug's own reloader.
            "WERKZEUG_RUN_MAIN": "true",
            "WERKZEUG_DEBUG_PIN": self.pin,
            # Where the container is read-only, one folder is not.
            "TMPDIR": self.environment.get("TMPDIR")
            or ("/tmp" if os.access("/tmp", os.W_OK) else "/dev/shm"),
        }

    def _end_child(self) -> None:
        if self.waiting:
            self._stop_waiting()
        pid, self.child = self.child, 0
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal_process(pid, number)
            self.loop.wait(lambda: not pid or not process.alive(pid), POLITE)
        self._on_message()  # or the next one would seem to serve at once
        self._restore_terminal()

    def _on_message(self) -> None:
        while message := notify.receive(self.channel):
            if message["state"] == "source":
                self.sources.add(message["text"])
            else:
                self.serving = True

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.prestart.pid:
                self.prestart.ended(status)
            elif pid == self.child:
                self.child = 0
                self._on_message()
                self._crashed(f"the development server {process.describe(status)}")

    def _crashed(self, what: str) -> None:
        """Bring it back, but not in a loop: by a request, or to show that it can't be."""
        self._restore_terminal()
        if self.serving:
            log(f"{what}; the next request starts it again")
            self.waiting = True
            self.loop.watch(self.listener, self._on_request)
        elif self.problem:
            log(f"{what}; it is started again when the source changes")
        else:
            log(f"{what} before it had loaded the application; its page says so until an edit")
            self._start_child(what)

    def _on_request(self) -> None:
        self._stop_waiting()
        self._start_child()

    def _stop_waiting(self) -> None:
        self.waiting = False
        self.loop.forget(self.listener)

    def _stop(self, code: int) -> None:
        self.exit_code = code

    def _stopped(self) -> bool:
        return self.exit_code is not None

    def _restore_terminal(self) -> None:
        """Undo what the prompt of breakpoint() did to the terminal, if the child died in it."""
        if self.terminal:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self.terminal)


def pause_after(look: float) -> float:
    """Seconds until the next look at the sources, after one that took so long."""
    return min(max(LOOKS_APART * look, LOOK_EVERY), LOOK_AT_LEAST_EVERY)


def _terminal() -> list[Any] | None:
    with contextlib.suppress(termios.error):  # stdin is none
        return termios.tcgetattr(0)
    return None


def _new_pin() -> str:
    digits = f"{secrets.randbelow(10**9):09}"
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"
