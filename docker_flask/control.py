"""Asks the first process of this container: one word out, one line back.

`_socket` in place of `socket`, whose import would take as long as all the rest of a health check.
"""

import _socket
import os

from docker_flask.paths import CONTROL_SOCKET


def ask(folder: str | os.PathLike[str], word: str, seconds: float) -> str:
    """Send a command and return the response; raises OSError after a timeout."""
    return exchange(f"{folder}/{CONTROL_SOCKET}", f"{word}\n", seconds)


def exchange(path: str, request: str, seconds: float) -> str:
    """Send a request to a unix socket and return the response, printable; raises OSError."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(request.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    finally:
        connection.close()
    return printable(answer.decode(errors="replace").strip())


def printable(text: str) -> str:
    """The text without what terminals obey: the application can take the socket's place."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
