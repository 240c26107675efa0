"""`docker-flask run COMMAND`: prepares a command that runs as the application, and becomes it.

In a container of its own, the command comes after prestart.sh, as the application does. Beside the
application, it gets the variables that prestart.sh has left there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from docker_flask import control, drop_privileges, health, paths, process
from docker_flask.discovery import flaskenv
from docker_flask.first_process.loop import Loop
from docker_flask.first_process.prestart import Prestart, PrestartFailed
from docker_flask.log import log

EXIT_NOT_READABLE = 70  # EX_SOFTWARE in sysexits.h: as of the application
EXIT_BY_SIGNAL = 128
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds that a start may take before `docker exec` finds its server, and between two lines that
# say what this command waits for.
PATIENCE = 10
LOOK_INTERVAL = 0.1


class Stopped(Exception):
    """A stop signal arrived before the command ran."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"stopped by {number.name} while prestart.sh ran; the command did not run")
        self.code = EXIT_BY_SIGNAL + number


def variables_inside() -> dict[str, str]:
    """The variables for a command that `docker exec` runs.

    Raises OSError, PrestartFailed, Stopped.
    """
    answer = ask_server()
    if answer is None:
        return variables_of_prestart()
    if not answer:
        raise OSError("the container stopped before its prestart.sh was complete")
    changes: dict[str, str | None] = json.loads(answer)
    after = {**os.environ, **changes}
    return {name: value for name, value in after.items() if value is not None}


def ask_server() -> str | None:
    """What prestart.sh has changed here, None if this container runs a command; raises OSError."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if folder := paths.running():
            try:
                return control.ask(Path(folder), "environment", PATIENCE)
            except TimeoutError:
                log("waiting for prestart.sh of this container")
                deadline = time.monotonic() + PATIENCE
            except OSError:  # a socket that an earlier start has left
                pass
        elif health.runs_command():
            return None
        time.sleep(LOOK_INTERVAL)
    raise OSError(
        f"no application runs in this container as uid {os.geteuid()}, and no command of the image"
    )


def variables_of_prestart() -> dict[str, str]:
    """The variables after prestart.sh, which runs here; raises PrestartFailed, Stopped."""
    loop, prestart = Loop(), Prestart()
    stops: list[signal.Signals] = []

    def on_child() -> None:
        for pid, status in process.reap():
            if pid == prestart.pid:
                prestart.ended(status)

    handlers = {number: partial(stops.append, number) for number in STOP_SIGNALS}
    loop.handle_signals({**handlers, signal.SIGCHLD: on_child})
    with stdout_as_stderr():
        variables = prestart.run(loop, os.environ, lambda: bool(stops))
    # From here on, signals wait for tini, or for the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    loop.turn(0)
    if stops:
        process.signal_group(prestart.pid, signal.SIGKILL)
        raise Stopped(stops[0])
    return variables


@contextlib.contextmanager
def stdout_as_stderr() -> Iterator[None]:
    """Keep stdout for the command: `docker-flask run flask dump > file`."""
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def main(where: str, *command: str) -> int:
    """Become the command; returns an exit code if that fails."""
    try:
        if problem := drop_privileges.why_not_readable(Path.cwd()):
            log(problem)
            return EXIT_NOT_READABLE
        variables = variables_inside() if where == "inside" else variables_of_prestart()
        os.environ.clear()
        os.environ.update(variables)
        flaskenv.load(Path.cwd())
        process_1 = [paths.TINI, "-s", "--"] if where == "container" else []
        words = [*process_1, *paths.EXECUTE, "same", *command]
        os.execve(words[0], words, os.environ)  # noqa: S606 (no shell)
    except (PrestartFailed, Stopped) as error:
        log(str(error))
        return error.code
    except OSError as error:
        log(f"run: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
