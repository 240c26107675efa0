"""`docker-flask health`: exit 0 when requests are being served. Run as a script by entry-point.sh.

The image's HEALTHCHECK asks twice a minute for ever, so it is made to cost little: no site
packages, and `_socket`, because to import what `socket` adds to it takes as long as all the rest.
"""

from __future__ import annotations

import _socket
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from docker_flask import paths

TIMEOUT = 4.0  # seconds; below the Dockerfile's HEALTHCHECK --timeout


def ask(path: str, words: bytes) -> bytes:
    """The beginning of the answer on a unix socket; raises OSError when there is none in time."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(words)
        return connection.recv(256)
    finally:
        connection.close()


def production(folder: str) -> str:
    """What is wrong with the supervisor of this folder or its nginx; empty if nothing is."""
    answer = ask(f"{folder}/{paths.CONTROL_SOCKET}", b"health\n").decode().strip()
    if answer != paths.OK:
        return answer or "the container stopped meanwhile"
    status = ask(f"{folder}/{paths.NGINX_SOCKET}", b"GET / HTTP/1.0\r\n\r\n")
    return "" if b" 204 " in status else "nginx does not answer"


def debug() -> str:
    """The same of debug mode; raises OSError."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(("127.0.0.1", paths.DEBUG_PORT))
    finally:
        connection.close()
    return ""


def main() -> int:
    """Ask whoever runs here."""
    for folder in paths.FOLDERS:
        if os.path.exists(f"{folder}/{paths.CONTROL_SOCKET}"):
            problem = production(folder)
            break
    else:
        problem = debug()
    if problem:
        print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"docker-flask: health: {error}", file=sys.stderr)
        sys.exit(1)
