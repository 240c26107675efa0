"""`docker-flask health`: exits with 0 if the container serves, or runs a command.

entry-point.sh runs this file as a script, which leaves root first.

The image's HEALTHCHECK runs it with --watch, as soon as the last check has ended: the first check
ends when the container serves, each later one lasts for half a minute. An orchestrator learns at
once that the container is ready, on every engine, and the check costs little: it uses no site
packages, and `_socket` in place of `socket`, whose import would take as long as all the rest.
"""

from __future__ import annotations

import _socket
import math
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from docker_flask import drop_privileges, paths

# Seconds: for an answer; of a later check; of a first check, which asks in this interval. Together
# they are below the Dockerfile's HEALTHCHECK --timeout.
TIMEOUT, PAUSE, START, INTERVAL = 4.0, 29, 25.0, 0.2
# A command has no folder for a mark, so its first check is one in its first seconds.
FIRST_SECONDS = 5.0


def ask(path: str, request: bytes) -> bytes:
    """The start of the response on a unix socket; raises OSError if there is none in time."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(request)
        return connection.recv(256)
    finally:
        connection.close()


def production(folder: str) -> str:
    """The problem of this folder's supervisor or its nginx; empty if there is none."""
    answer = ask(f"{folder}/{paths.CONTROL_SOCKET}", b"health\n").decode().strip()
    if answer != paths.OK:
        return answer or "the container is stopping"
    status = ask(f"{folder}/{paths.NGINX_SOCKET}", b"GET / HTTP/1.0\r\n\r\n")
    return "" if b" 204 " in status else "nginx does not respond"


def debug() -> str:
    """The problem of debug mode; raises OSError."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(("127.0.0.1", paths.DEBUG_PORT))
    finally:
        connection.close()
    return ""


def runs_command() -> bool:
    """True if the container runs a command in place of a server: tini is one of its processes.

    Containers may share their processes, but not their cgroup.
    """
    first = f"{paths.TINI}\0".encode()
    own = read("/proc/self/cgroup")
    return any(
        read(f"/proc/{pid}/cmdline").startswith(first) and read(f"/proc/{pid}/cgroup") == own
        for pid in filter(str.isdecimal, os.listdir("/proc"))
    )


def read(path: str) -> bytes:
    """A file of the kernel; empty if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def find_problem() -> str:
    """Why the container serves nothing and runs no command; empty if it does."""
    folder = paths.running()
    try:
        if folder:
            is_debug = os.path.exists(f"{folder}/{paths.DEBUG_MARK}")
            return debug() if is_debug else production(folder)
        if runs_command():
            return ""
    except OSError as error:
        return str(error)
    return "no server runs in this container, or it runs as another user"


def is_first() -> bool:
    """True until a check was successful."""
    if folder := paths.running():
        return not os.path.exists(f"{folder}/{paths.CHECKED}")
    return not runs_command() or age() < FIRST_SECONDS


def age() -> float:
    """Seconds since process 1 started; infinite if the kernel does not say it."""
    fields = read("/proc/1/stat").rpartition(b")")[2].split()
    uptime = read("/proc/uptime").split()
    if len(fields) < 20 or not uptime:
        return math.inf
    return float(uptime[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def watch() -> str:
    """Check as the HEALTHCHECK does; returns the problem, and not at once."""
    deadline = time.monotonic() + START
    while is_first():
        if not (problem := find_problem()):
            if folder := paths.running():
                open(f"{folder}/{paths.CHECKED}", "w").close()
            return ""
        if time.monotonic() > deadline:
            return problem
        time.sleep(INTERVAL)
    if problem := find_problem():
        time.sleep(PAUSE)
        return problem
    os.execv("/bin/sleep", ["sleep", str(PAUSE)])  # noqa: S606 (it takes less memory than Python)


def main() -> int:
    """Check what runs in this container: a mode, or a command."""
    try:
        drop_privileges.drop(drop_privileges.running)
    except drop_privileges.NotPermitted as missing:
        print(f"docker-flask: {missing}", file=sys.stderr)
        return missing.code
    problem = watch() if sys.argv[1:] == ["--watch"] else find_problem()
    if problem:
        print(f"docker-flask: health: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
