"""Programs that process 1 runs for their output, without waiting for their end."""

import os
import signal
from collections.abc import Mapping, Sequence

from docker_flask.shared import process
from docker_flask.shared.process import Output
from docker_flask.supervisor.task import Steps, Until


class Programs:
    """The caller reaps child processes, and calls `ended` for each."""

    def __init__(self) -> None:
        # The wait status of each program that runs, None until it has ended.
        self._running: dict[int, int | None] = {}

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        seconds: float,
        descriptors: Sequence[int] = (),
    ) -> Steps[Output]:
        """Run a command; raises TimeoutError after a number of seconds, and OSError.

        descriptors: as those of `process.spawn`. If the steps are not completed, the command is
        killed.
        """
        # Files in memory: a full pipe would block the command, and the container may be read-only.
        names = os.memfd_create("out"), os.memfd_create("errors")
        with open(names[0], "rb") as out, open(names[1], "rb") as errors:
            pid = process.spawn(command, environment, descriptors, outputs=names)
            self._running[pid] = None
            try:
                yield Until(lambda: self._running[pid] is not None, seconds)
            finally:
                if (status := self._running.pop(pid)) is None:
                    process.signal_group(pid, signal.SIGKILL)
            if status is None:
                raise TimeoutError
            out.seek(0)
            errors.seek(0)
            texts = (file.read().decode(errors="replace") for file in (out, errors))
            return Output(os.waitstatus_to_exitcode(status), *texts)

    def ended(self, pid: int, status: int) -> bool:
        """Note that a process has ended; returns True if it is one of these."""
        if pid not in self._running:
            return False
        self._running[pid] = status
        return True
