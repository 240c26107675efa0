"""Commands to the first process of this container: one word in, one line out."""

import contextlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from docker_flask.first_process.clients import Clients
from docker_flask.first_process.loop import Loop
from docker_flask.first_process.sockets import listen_unix
from docker_flask.paths import CONTROL_SOCKET, OK


class ControlPort:
    """The supervisor's end. A command gets a function to respond with, now or later."""

    def __init__(
        self,
        folder: Path,
        loop: Loop,
        commands: Mapping[str, Callable[[Callable[[str], None]], None]],
    ) -> None:
        self._commands = {"health": lambda answer: answer(OK), **commands}
        Clients(loop, [listen_unix(str(folder / CONTROL_SOCKET))], b"\n", self._on_word)

    def _on_word(self, client: socket.socket, request: bytes) -> None:
        def answer(line: str) -> None:
            with contextlib.suppress(OSError):  # the client may have gone
                client.sendall(line.encode() + b"\n")
            client.close()

        word = request.decode(errors="replace").strip()
        command = self._commands.get(word)
        if not command:
            answer(f"unknown command: {word[:64]!r}")
            return
        try:
            command(answer)
        except Exception:
            answer("internal error; the log has a traceback")
            raise
