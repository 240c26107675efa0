"""PID 1 in debug mode: starts the development server, and again at every edit.

The server is a child that holds no state worth keeping. The socket is bound here, so that a
browser that asks while the child restarts waits instead of being refused, and whatever breaks
the child, a syntax error or a segfault, is mended by the next edit.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from docker_flask import process
from docker_flask.log import log
from docker_flask.loop import Loop
from docker_flask.servers import VENV

# What Python reads when it starts; templates are read anew by Flask itself.
WATCHED_SUFFIXES = (".py", ".env", ".flaskenv")
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}
# Files are looked at, not waited for: events do not cross the file sharing of Docker Desktop.
LOOK_EVERY = 0.4
POLITE = 1.0

Snapshot = dict[str, tuple[int, int]]


class DebugServer:
    """Runs the development server on a port until told to stop; `run` returns the exit code."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.root = Path.cwd()
        self.loop = Loop()
        self.child = 0
        self.exit_code: int | None = None
        self.listener = socket.create_server(("0.0.0.0", port), backlog=128)

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
        log(
            f"development server on port {self.port}, reloaded at every edit in {self.root}. "
            "Its debugger runs any code that is typed into it: not for production."
        )
        while self.exit_code is None:
            before = snapshot(self.root)
            self._start_child()
            while self.exit_code is None and snapshot(self.root) == before:
                self.loop.wait(lambda: self.exit_code is not None, LOOK_EVERY)
            if self.exit_code is None:
                log("the source has changed; reloading")
            self._end_child()
        return self.exit_code

    def _start_child(self) -> None:
        environment = {
            **os.environ,
            "FLASK_DEBUG": "1",
            # Python takes a compiled file for up to date when size and second of its source fit:
            # of two quick edits the second would not be seen. It also keeps the source tree clean.
            "PYTHONDONTWRITEBYTECODE": "1",
            # What applications ask, to start something once under Werkzeug's own reloader.
            "WERKZEUG_RUN_MAIN": "true",
        }
        self.child = process.spawn(
            [str(VENV / "bin/python"), "-m", "docker_flask.debug_server"],
            environment,
            [self.listener.fileno()],
            # The terminal's own group, or breakpoint() could not read from it.
            own_group=False,
        )

    def _end_child(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal_process(self.child, number)
            self.loop.wait(lambda: not self.child, POLITE)

    def _stop(self, code: int) -> None:
        self.exit_code = code

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.child:
                self.child = 0
                if status and self.exit_code is None:
                    log(
                        f"the development server {process.describe(status)}; "
                        "it is started again when the source changes"
                    )


def snapshot(root: Path) -> Snapshot:
    """Modification time (ns) and size of each source file below a folder."""
    return {entry.path: _look(entry) for entry in _sources(str(root))}


def _look(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _sources(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(WATCHED_SUFFIXES):
            yield entry
        elif entry.is_dir() and entry.name not in SKIPPED_FOLDERS and entry.name[0] != ".":
            yield from _sources(entry.path)
