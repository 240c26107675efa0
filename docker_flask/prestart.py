"""prestart.sh beside the application: sourced by a shell before that is loaded, in either mode."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from docker_flask import process
from docker_flask.log import log
from docker_flask.loop import Loop

EXIT_KILLED = 70  # EX_SOFTWARE in sysexits.h: the shell was killed, and has no code of its own
# Where images of others have it.
USUAL_FOLDER = Path("/app")
# Files written on Windows end their lines with a carriage return. What it exports is written behind
# it, also where it ends by `exit`; to where no descriptor of its own is in the way. It needs no
# folder for that, so the container may be read-only.
SHELL = r"""set -e
: < "$0"
exec {docker_flask}>&3 3>&-
trap 'env -0 >&$docker_flask' EXIT
. <(tr -d '\r' < "$0")
env -0 >&$docker_flask # a trap of its own may have replaced that one
"""


class PrestartFailed(Exception):
    """The application is not to be started; code: what the container ends with."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class Prestart:
    """Runs it, once. pid: of the shell while there is one, else 0; its process group, too."""

    def __init__(self) -> None:
        self.pid = 0
        self._status = 0

    def run(
        self,
        loop: Loop,
        environment: Mapping[str, str],
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """The environment as it is behind it, or when it is `stopped`. Raises PrestartFailed.

        Whoever reaps processes calls `ended` for this one meanwhile.
        """
        places = (os.path.join(folder, "prestart.sh") for folder in (Path.cwd(), USUAL_FOLDER))
        script = next(filter(os.path.isfile, places), None)
        if not script:
            return dict(environment)
        with open(os.memfd_create("exports"), "rb") as exports:
            command = ["/bin/bash", "-c", SHELL, script]
            self.pid = process.spawn(command, environment, [exports.fileno()])
            while not loop.wait(lambda: not self.pid or stopped(), 60):
                log("prestart.sh is still running")
            if self.pid:
                return dict(environment)
            if self._status:
                code = os.waitstatus_to_exitcode(self._status)
                words = f"prestart.sh {process.describe(self._status)}"
                raise PrestartFailed(
                    f"{words}; the application is not started", code if code > 0 else EXIT_KILLED
                )
            exports.seek(0)
            lines = os.fsdecode(exports.read()).split("\0")
        pairs = (line.partition("=") for line in lines if line)
        return {name: value for name, _, value in pairs}

    def ended(self, status: int) -> None:
        """Note that the shell ended."""
        self.pid, self._status = 0, status
