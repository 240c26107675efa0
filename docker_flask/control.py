"""Asks the first process of this container: one word out, one line back."""

from __future__ import annotations

import socket
from pathlib import Path

from docker_flask.paths import CONTROL_SOCKET


def ask(folder: Path, word: str, seconds: float) -> str:
    """Send a command and return the response; raises OSError after a timeout."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(folder / CONTROL_SOCKET))
        connection.sendall(word.encode() + b"\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode(errors="replace").strip()
