"""`docker-flask health`: exits with 0 if the container serves, or runs a command.

entry-point.sh runs this file as a script, which leaves root first.

The image's HEALTHCHECK runs it with --watch, as soon as the last check has ended. A check that
finds a problem ends when the problem does. A check that finds none lasts for half a minute, if the
server is not new. So an orchestrator learns at once that the container is ready, on every engine,
and the check costs little: it uses no site packages, and few modules.
"""

import os
import sys
import time

sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))
from docker_flask.shared import control, drop_privileges, paths

# Seconds: for an answer; of a check without a problem; of a check with a problem, which looks in
# this interval. Together they are below the Dockerfile's HEALTHCHECK --timeout.
TIMEOUT, PAUSE, PATIENCE, INTERVAL = 4.0, 29, 25.0, 0.2
# Seconds in which a server or a command is new.
NEW = 10.0


def find_problem() -> str:
    """Why the container serves nothing and runs no command; empty if it does."""
    folder = paths.running()
    if not folder:
        no_server = "no server runs in this container, or it runs as another user"
        return "" if find_command() else no_server
    try:
        answer = control.ask(folder, "health", TIMEOUT)
        nginx = f"{folder}/{paths.NGINX_SOCKET}"
        if answer == paths.OK and os.path.exists(nginx):
            status = control.exchange(nginx, "GET / HTTP/1.0\r\n\r\n", TIMEOUT)
            return "" if " 204 " in status else "nginx does not respond"
    except OSError as error:
        return str(error)
    return "" if answer == paths.OK else answer or "the container is stopping"


def find_command() -> str:
    """The tini that runs a command in place of a server, as a folder of /proc; else empty."""
    first = f"{paths.TINI}\0".encode()
    of_container = paths.processes()
    return next((it for it in of_container if paths.read(f"{it}/cmdline").startswith(first)), "")


def is_new() -> bool:
    """True if what runs has started in these seconds, or ended just now."""
    folder = paths.running()
    try:
        begun = os.stat(f"{folder}/{paths.CONTROL_SOCKET}" if folder else find_command()).st_mtime
    except OSError:
        return True
    return time.time() - begun < NEW


def watch() -> str:
    """Check as the HEALTHCHECK does; returns the problem, and not at once."""
    problem = find_problem()
    if not problem and not is_new():
        # It takes less memory than Python.
        os.execv("/bin/sleep", ["sleep", str(PAUSE)])  # noqa: S606 (no shell)
    deadline = time.monotonic() + PATIENCE
    while problem and time.monotonic() < deadline:
        time.sleep(INTERVAL)
        problem = find_problem()
    return problem


def main() -> int:
    """Check what runs in this container: a mode, or a command."""
    try:
        drop_privileges.drop("running")
    except drop_privileges.NotPermitted as missing:
        print(f"docker-flask: {missing}", file=sys.stderr)
        return missing.code
    problem = watch() if sys.argv[1:] == ["--watch"] else find_problem()
    if problem:
        print(f"docker-flask: health: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
