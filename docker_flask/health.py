"""`docker-flask health`: exits with 0 if the container serves, or runs a command.

entry-point.sh runs this file as a script.

The image's HEALTHCHECK runs it twice a minute, so it has to be cheap: it uses no site packages, and
`_socket` in place of `socket`, whose import would take as long as all the rest.
"""

from __future__ import annotations

import _socket
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from docker_flask import paths

TIMEOUT = 4.0  # seconds; below the Dockerfile's HEALTHCHECK --timeout


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
    """True if the container runs a command in place of a server."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        connection.connect(f"\0{paths.name()}")  # of init.c, which lives as long as the command
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()
    return True


def main() -> int:
    """Check what runs in this container: a mode, or a command."""
    folder = paths.running()
    if not folder:
        if runs_command():
            return 0
        raise OSError("no server runs in this container, or it runs as another user")
    is_debug = os.path.exists(f"{folder}/{paths.DEBUG_MARK}")
    problem = debug() if is_debug else production(folder)
    if problem:
        print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"docker-flask: health: {error}", file=sys.stderr)
        sys.exit(1)
