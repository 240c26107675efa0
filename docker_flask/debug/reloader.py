"""PID 1 in debug mode: starts the development server, and restarts it at every edit.

The server is a child process. This process binds the socket: while the child restarts, a browser
waits instead of being refused. If the child dies, of a syntax error or a segfault, the next edit
starts another.
"""

import contextlib
import os
import secrets
import signal
import socket
from functools import partial
from pathlib import Path

from docker_flask.debug.source_watcher import SourceWatcher
from docker_flask.plan import limits, packages
from docker_flask.plan.settings import Settings, ignored, read, resolve
from docker_flask.shared import certificate, notify, process, runtime_folder
from docker_flask.shared.certificate_copies import Copies
from docker_flask.shared.drop_privileges import why_not_all_readable
from docker_flask.shared.log import first_line, log
from docker_flask.shared.loop import Loop
from docker_flask.shared.paths import DEBUG_PORT, PYTHON
from docker_flask.shared.ports import answer_commands
from docker_flask.shared.prestart import Prestart, PrestartFailed
from docker_flask.shared.setting_error import SettingError

# Seconds between two scans of the source files.
PAUSE = 0.4
# Ctrl-C ends this process, and this process ends the child. If the child got the signal itself, it
# would print a traceback.
IGNORE_CTRL_C = ["/usr/bin/env", "--ignore-signal=INT"]
# Seconds that the child gets to complete its requests.
CHILD_STOP_TIMEOUT = 0.5


def main() -> int:
    """Development: Flask's own server, which restarts at every edit."""
    with runtime_folder.open_folder() as folder:
        return Reloader(folder).run()


class Reloader:
    """Runs the development server until a stop signal; `run` returns the exit code."""

    settings: Settings
    watcher: SourceWatcher

    def __init__(self, folder: Path) -> None:
        self.environment = dict(os.environ)
        self.pin = ""
        self.prestart = Prestart()
        self.root = Path.cwd()
        self.loop = Loop()
        # The container's own network; `docker run -p` decides who reaches the port.
        self.listener = socket.create_server(("0.0.0.0", DEBUG_PORT), backlog=128)  # noqa: S104
        self.channel, self.childs_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self.folder = folder
        self.certificate: Copies | None = None
        # For commands that run as the application: their variables.
        answer_commands(folder, self.loop, {"environment": self.prestart.answer_changes})
        self.exit_code: int | None = None
        self.child = 0
        self.serving = False  # the child has loaded the application

    def run(self) -> int:
        """Serve, and restart the child whenever a source file is edited."""
        self.loop.handle_signals(
            {
                signal.SIGTERM: partial(self._stop, 0),
                signal.SIGINT: partial(self._stop, 130),
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
            self.watcher.remember()
            self._start_child()
            if edited := self._wait_for_edit():
                log(f"{edited} has changed; reloading")
            self._end_child()
        return self.exit_code

    def _prepare(self) -> None:
        """Run prestart.sh and read the settings, once. Raises PrestartFailed, SettingError."""
        self.environment = self.prestart.run(self.loop, self.environment, self._stopped)
        if self._stopped():
            process.signal_group(self.prestart.pid, signal.SIGKILL)
            return
        self.settings, _ = resolve(read(self.environment), limits.read())
        if port := self.settings.debugpy:
            packages.require("debugpy", f"DEBUGPY={port}", packages.DEBUGPY_PIN)
        if self.settings.tls_certificate:
            files = certificate.find(self.settings.tls_certificate, self.settings.tls_key)
            self.certificate = Copies(self.folder, files)
            self.certificate.begin()
        libraries = filter(None, self.environment.get("PYTHONPATH", "").split(":"))
        self.watcher = SourceWatcher(str(self.root), *libraries, pages=self.settings.live_reload)
        log(first_line("debug mode"))
        for note in ignored(self.environment, production=False):
            log(note)
        # This process runs as the owner of the folder, who then owns the files that the application
        # writes, and can delete them. That can't be root.
        if self.root.stat().st_uid == 0 and not os.access(self.root, os.W_OK):
            log(
                f"{self.root} belongs to root, so the application runs as uid {os.geteuid()} and "
                "can't write there: chown the folder if the application has to write"
            )
        if problem := why_not_all_readable(self.root):
            log(problem)
        log(
            f"development server on port {DEBUG_PORT} (docker run -p 5000:{DEBUG_PORT}), not for "
            "production: its debugger runs any code that a visitor with the PIN enters. It reloads "
            f"at every edit in {self.root}."
        )
        self.pin = self.settings.werkzeug_debug_pin or "-".join(
            f"{secrets.randbelow(1000):03}" for _ in range(3)
        )
        log(f"debugger PIN: {self.pin}")

    def _wait_for_edit(self) -> str | None:
        """The first file that was edited; None at a stop signal."""
        while self.exit_code is None:
            if edited := self.watcher.edited():
                return edited
            if self.watcher.page_edited and self.serving:
                notify.send(self.channel.fileno(), "page")
            self.loop.wait(self._stopped, PAUSE)
        return None

    # --- the child -------------------------------------------------------------------------

    def _start_child(self) -> None:
        with contextlib.suppress(KeyError):  # unless the child before this one has died
            self.loop.forget(self.listener)
        self.serving = False
        try:
            if self.certificate:
                self.certificate.refresh(None)
        except OSError as error:  # a full disk; the next edit tries again
            log(f"keeping the previous certificate: {error}")
        certificate = str(self.certificate.folder) if self.certificate else ""
        self.child = process.spawn(
            # -P: modules in the application's folder must not replace the server's modules.
            [*IGNORE_CTRL_C, PYTHON, "-P", "-m", "docker_flask.debug.server", certificate],
            self._environment(),
            [self.listener.fileno(), self.childs_end.fileno()],
            # In the terminal's own group, so that breakpoint() can read from the terminal.
            own_group=False,
        )

    def _environment(self) -> dict[str, str]:
        return {
            **self.environment,
            "FLASK_DEBUG": "1",
            # Show a traceback at a segfault.
            "PYTHONFAULTHANDLER": "1",
            # Applications check this to start a thing only once under Werkzeug's reloader.
            "WERKZEUG_RUN_MAIN": "true",
            "WERKZEUG_DEBUG_PIN": self.pin,
        }

    def _end_child(self) -> None:
        pid, self.child = self.child, 0
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal_process(pid, number)
            self.loop.wait(lambda: not pid or not process.alive(pid), CHILD_STOP_TIMEOUT)
        self._on_message()  # a late message of this child must not count for the next child

    def _on_message(self) -> None:
        while notify.receive(self.channel):
            self.serving = True

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.prestart.pid:
                self.prestart.ended(status)
            elif pid == self.child:
                self.child = 0
                self._on_message()
                what = f"the development server {process.describe(status)}"
                if self.serving:
                    log(f"{what}; the next request starts it again")
                    self.loop.watch(self.listener, self._start_child)
                else:
                    log(f"{what} at import; the next edit starts it again")

    def _stop(self, code: int) -> None:
        self.exit_code = code

    def _stopped(self) -> bool:
        return self.exit_code is not None
