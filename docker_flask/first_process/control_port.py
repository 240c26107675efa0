"""Commands to the supervisor in this container: one word in, one line out."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from docker_flask.first_process.loop import Loop
from docker_flask.first_process.sockets import listen_unix
from docker_flask.paths import CONTROL_SOCKET


class ControlPort:
    """The supervisor's end. A command gets a function to respond with, now or later."""

    def __init__(
        self,
        folder: Path,
        loop: Loop,
        commands: Mapping[str, Callable[[Callable[[str], None]], None]],
    ) -> None:
        self._loop = loop
        self._commands = commands
        self._listener = listen_unix(str(folder / CONTROL_SOCKET))
        loop.watch(self._listener, self._on_connection)

    def _on_connection(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        self._loop.watch(connection, lambda: self._on_word(connection))

    def _on_word(self, connection: socket.socket) -> None:
        self._loop.forget(connection)

        def answer(line: str) -> None:
            with contextlib.suppress(OSError):  # the client may have gone
                connection.sendall(line.encode() + b"\n")
            connection.close()

        try:
            word = connection.recv(64).decode(errors="replace").strip()
        except OSError:
            connection.close()
            return
        command = self._commands.get(word)
        if command:
            command(answer)
        else:
            answer(f"unknown command: {word!r}")
