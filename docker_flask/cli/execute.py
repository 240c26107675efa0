"""The last step before a command, as a script: cli/execute.py WHO COMMAND [ARGUMENT...].

WHO is the user who runs the command if root starts it, of drop_privileges.USERS, or `same`, for
commands that the user of the image gives. A process in front of a `same` command may block stop
signals, so that none is lost at the start. `python` is for root's Python: python.sh.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))
from docker_flask.shared import drop_privileges, paths, secret_files
from docker_flask.shared.setting_error import SettingError

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127


def why_not(name: str, error: OSError) -> str:
    """Why this command does not run, and what to do."""
    if isinstance(error, PermissionError):
        return "a command is a file with the permission to execute it (chmod +x)"
    if not isinstance(error, FileNotFoundError):
        return str(error.strerror)
    if "/" in name and os.path.exists(name):
        return "its first line names a program that does not exist, or ends as in Windows"
    if name == "debug":
        return "for debug mode use -d debug"
    words = "give each word as an argument of its own; " if " " in name else ""
    return f"there is no such program in this image; {words}-h lists the image's own commands"


def _prepare_python(name: str, *arguments: str) -> tuple[str, ...]:
    """Leave root in a running container, except for pip, which can't import the application."""
    stays = drop_privileges.stays_root(os.environ.get("RUN_AS_ROOT", ""))
    if stays or paths.INSTALLS_MARK in os.environ or not drop_privileges.of_container():
        return (name, *arguments)
    if "pip" not in {os.path.basename(word).rstrip("0123456789.") for word in arguments[:2]}:
        drop_privileges.drop("running")
        return (name, *arguments)
    os.environ |= {paths.INSTALLS_MARK: "1", "HOME": "/root"}
    os.environ.pop("PYTHONPATH", None)
    return (name, "-P", *arguments)


def main(who: str, *command: str) -> int:
    """Execute the command; returns an exit code if that fails."""
    program = command[0]
    try:
        if who == "same":
            drop_privileges.name_user()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        elif who == "python":
            program, command = paths.INTERPRETER, _prepare_python(*command)
        else:
            secret_files.read()
            drop_privileges.drop(who)
        # Python ignores these two signals, and a command inherits ignored signals.
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        os.execvp(program, command)  # noqa: S606 (no shell on purpose)
    except (drop_privileges.NotPermitted, SettingError) as error:
        problem, code = str(error), error.code
    except OSError as error:
        problem = f'can\'t run "{command[0]}": {why_not(command[0], error)}'
        is_missing = isinstance(error, FileNotFoundError)
        code = EXIT_NOT_FOUND if is_missing else EXIT_NOT_EXECUTABLE
    print(f"docker-flask: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
