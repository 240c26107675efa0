"""prestart.sh beside the application: in both modes, a shell sources it before the application."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from docker_flask.shared import paths, process
from docker_flask.shared.log import log
from docker_flask.shared.loop import Loop

EXIT_KILLED = 70  # EX_SOFTWARE in sysexits.h: the shell was killed, and has no exit code
# The folder in other images.
USUAL_FOLDER = Path("/app")
# What the shell sets by itself.
OF_SHELL = {"_", "SHLVL", "PWD", "OLDPWD"}
# Lines of files from Windows end with a carriage return. After the script, also if it ends by
# `exit`, the shell writes its exported variables to a descriptor that the script does not use. This
# needs no folder, so the container may be read-only. stdout is that of a command: its output may be
# a file.
SHELL = r"""set -e
: < "$0"
exec {docker_flask}>&3 3>&- >&2
trap 'env -0 >&$docker_flask' EXIT
. <(tr -d '\r' < "$0")
env -0 >&$docker_flask # the script may have replaced the trap
"""


class PrestartFailed(Exception):
    """The application can't start; code: the exit code of the container."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class Prestart:
    """Runs prestart.sh once. pid: of the shell, and its process group; 0 if no shell runs."""

    def __init__(self) -> None:
        self.pid = 0
        self._status = 0
        self._exports = -1
        # JSON: variables that the script has changed; null for one that it has removed.
        self._changes: str | None = None
        self._wait_for_changes: list[Callable[[str], None]] = []

    def run(
        self,
        loop: Loop,
        environment: Mapping[str, str],
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """Run the script; returns the environment after it. Raises PrestartFailed.

        stopped: if this returns True, `run` returns before the script ends. The caller reaps child
        processes, and calls `ended` for the shell.
        """
        self.start(environment)
        while not loop.wait(lambda: not self.pid or stopped(), 60):
            log("prestart.sh is still running")
        after = dict(environment) if self.pid else self.result(environment)
        names = (environment.keys() | after.keys()) - OF_SHELL
        pairs = {name: (environment.get(name), after.get(name)) for name in names}
        self._changes = json.dumps({name: new for name, (old, new) in pairs.items() if new != old})
        for answer in self._wait_for_changes:
            answer(self._changes)
        return after

    def answer_changes(self, answer: Callable[[str], None]) -> None:
        """Respond with the variables that the script has changed, as soon as it has ended."""
        if self._changes is None:
            self._wait_for_changes.append(answer)
        else:
            answer(self._changes)

    def start(self, environment: Mapping[str, str], own_group: bool = True) -> None:
        """Start the script, if there is one."""
        places = (os.path.join(folder, "prestart.sh") for folder in (Path.cwd(), USUAL_FOLDER))
        if script := next(filter(os.path.isfile, places), None):
            self._exports = os.memfd_create("exports")
            command = ["/bin/bash", "-c", SHELL, script]
            marked = {**environment, paths.PRESTART_MARK: "1"}
            self.pid = process.spawn(command, marked, [self._exports], own_group)

    def ended(self, status: int) -> None:
        """Note that the shell ended."""
        self.pid, self._status = 0, status

    def result(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment after the script; raises PrestartFailed."""
        if self._status:
            code = os.waitstatus_to_exitcode(self._status)
            words = f"prestart.sh {process.describe(self._status)}; the application does not start"
            raise PrestartFailed(words, code if code > 0 else EXIT_KILLED)
        if self._exports < 0:
            return dict(environment)
        with open(self._exports, "rb") as exports:
            exports.seek(0)
            lines = os.fsdecode(exports.read()).split("\0")
        pairs = (line.partition("=") for line in lines if line)
        return {name: value for name, _, value in pairs}
