"""`docker-flask run COMMAND`: prepares a command that runs as the application, and becomes it.

In a container of its own, the command comes after prestart.sh, as the application does. Beside the
application, it gets the variables that prestart.sh has left there.
"""

import os
import signal
import sys
import time
from pathlib import Path

from docker_flask.cli import health
from docker_flask.shared import control, drop_privileges, paths
from docker_flask.shared.log import log
from docker_flask.shared.prestart import Prestart, PrestartFailed
from docker_flask.worker.find import flaskenv

# Seconds that a start, and that prestart.sh may take before a command of `docker exec`.
START_TIMEOUT, PRESTART_TIMEOUT = 10.0, 3600.0


def ask_server() -> dict[str, str | None] | None:
    """What prestart.sh has changed here, None if this container runs a command; raises OSError."""
    deadline = time.monotonic() + START_TIMEOUT
    while not (folder := paths.running()):
        if health.find_command():
            return None
        if time.monotonic() > deadline:
            raise OSError(f"no application runs in this container as uid {os.geteuid()}")
        time.sleep(0.1)
    changes: dict[str, str | None] | None = control.ask_json(
        folder, "environment", PRESTART_TIMEOUT
    )
    if changes is None:
        raise OSError("the container stopped before its prestart.sh was complete")
    return changes


def variables(is_inside: bool) -> dict[str, str]:
    """The variables for the command; raises OSError, PrestartFailed.

    is_inside: True for `docker exec`.
    """
    if is_inside and (changes := ask_server()) is not None:
        after = {**os.environ, **changes}
        return {name: value for name, value in after.items() if value is not None}
    prestart = Prestart()
    prestart.start(os.environ, own_group=False)
    if prestart.pid:
        prestart.ended(os.waitpid(prestart.pid, 0)[1])
    return prestart.result(os.environ)


def main(where: str, *command: str) -> int:
    """Become the command; returns an exit code if that fails.

    Stop signals end this process, whose parent is tini in a container of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        if problem := drop_privileges.why_not_readable(Path.cwd()):
            log(problem)
            return drop_privileges.EXIT_NOT_READABLE
        after = variables(where == "inside")
        os.environ.clear()
        os.environ.update(after)
        flaskenv.load()
        words = [*paths.EXECUTE, "same", *command]
        os.execve(words[0], words, os.environ)  # noqa: S606 (no shell)
    except PrestartFailed as error:
        log(str(error))
        return error.code
    except OSError as error:
        log(f"run: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
