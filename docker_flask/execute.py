"""The last step before a command, as a script: execute.py WHO COMMAND [ARGUMENT...].

WHO is the user who runs the command if root starts it: `service`, `owner` or `running`, which are
functions of drop_privileges.py, or `same`, for commands that the user of the image gives. A process
in front of a `same` command may block stop signals, so that none is lost at the start.
"""

from __future__ import annotations

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from docker_flask import drop_privileges

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127
USERS = {
    "service": drop_privileges.service_user,
    "owner": drop_privileges.owner,
    "running": drop_privileges.running,
}


def why_not(name: str, error: OSError) -> str:
    """Why this command does not run, and what to do."""
    if not isinstance(error, FileNotFoundError):
        hint = "; a command is a file with the permission to execute it (chmod +x)"
        forbidden = isinstance(error, PermissionError)
        return f'can\'t run "{name}": {error.strerror}{hint if forbidden else ""}'
    if "/" in name and os.path.exists(name):
        return (
            f'can\'t run "{name}": its first line names a program that does not exist; '
            "a line that ends as in Windows does, too"
        )
    if name == "debug":
        return '"debug" is no command; for debug mode use -d debug'
    words = "; give each word as an argument of its own" if " " in name else ""
    return (
        f'"{name}" is no command: there is no such program in this image; '
        f"-h lists the modes and the image's own commands{words}"
    )


def main(who: str, *command: str) -> int:
    """Execute the command; returns an exit code if that fails."""
    try:
        if who == "same":
            drop_privileges.name_user()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        else:
            drop_privileges.drop(USERS[who])
        # Python ignores these two signals, and a command inherits ignored signals.
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 (no shell on purpose)
    except drop_privileges.NotPermitted as missing:
        problem, code = str(missing), missing.code
    except OSError as error:
        problem = why_not(command[0], error)
        is_missing = isinstance(error, FileNotFoundError)
        code = EXIT_NOT_FOUND if is_missing else EXIT_NOT_EXECUTABLE
    print(f"docker-flask: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
