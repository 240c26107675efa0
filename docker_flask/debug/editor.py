"""The port on which an editor attaches its debugger, with the setting DEBUGPY.

The debugger (debugpy) is in the child, so each edit ends it. This process keeps the port: an editor
that attaches again during the restart waits for the next child, and is not refused. Both speak the
Debug Adapter Protocol: messages of JSON, each after a header with its length.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from docker_flask.configuration.kinds import SettingError
from docker_flask.first_process.loop import Loop


class EditorPort:
    """Connects editors with the debugger of the present child."""

    def __init__(self, port: int, loop: Loop) -> None:
        """Raises SettingError if the port can't be used."""
        try:
            # As the port of the application; `docker run -p` decides who reaches it.
            self._listener = socket.create_server(("0.0.0.0", port))  # noqa: S104
        except OSError as error:
            raise SettingError(
                f"can't listen on DEBUGPY={port}: {error.strerror}; use a free port above 1023"
            ) from None
        self._debugger = 0  # the port of the present child's debugger; 0 if there is none
        self._waiting: list[socket.socket] = []
        self._attached: set[socket.socket] = set()
        loop.watch(self._listener, self._on_editor)

    @property
    def attached(self) -> bool:
        """True if an editor is connected."""
        return bool(self._attached)

    def child_listens(self, port: int) -> None:
        """Connect the editors that wait."""
        self._debugger = port
        waiting, self._waiting = self._waiting, []
        for editor in waiting:
            self._connect(editor)

    def child_ended(self) -> None:
        """Let editors wait. Those that are connected get the last messages of the debugger."""
        self._debugger = 0

    def _on_editor(self) -> None:
        editor, _ = self._listener.accept()
        if self._debugger:
            self._connect(editor)
        else:
            self._waiting.append(editor)

    def _connect(self, editor: socket.socket) -> None:
        try:
            debugger = socket.create_connection(("127.0.0.1", self._debugger))
        except OSError:  # the child has just died
            self._waiting.append(editor)
            return
        self._attached.add(editor)
        session = Session(editor, debugger)
        threading.Thread(target=self._run, args=(session,), daemon=True).start()

    def _run(self, session: Session) -> None:
        session.run()
        self._attached.discard(session.editor)


class Session:
    """Passes messages on between an editor and a debugger until one of them ends the connection.

    If the editor attaches with `"restart": true`, the last message of the debugger makes it attach
    again. debugpy does this only for connections that it opens itself.
    """

    def __init__(self, editor: socket.socket, debugger: socket.socket) -> None:
        self.editor = editor
        self._debugger = debugger
        self._restart = False

    def run(self) -> None:
        """Return when both directions have ended."""
        back = threading.Thread(
            target=self._copy, args=(self._debugger, self.editor, self._of_debugger), daemon=True
        )
        back.start()
        self._copy(self.editor, self._debugger, self._of_editor)
        back.join()
        self.editor.close()
        self._debugger.close()

    def _copy(self, source: socket.socket, target: socket.socket, change: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            for message in _messages(source):
                body = json.dumps(change(message)).encode()
                target.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _of_editor(self, message: dict[str, Any]) -> dict[str, Any]:
        command = message.get("command")
        if command == "attach":
            self._restart = bool(message.get("arguments", {}).get("restart"))
        elif command in ("disconnect", "terminate"):  # the user ends the session
            self._restart = False
        return message

    def _of_debugger(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("event") == "terminated" and self._restart:
            message["body"] = {**message.get("body", {}), "restart": True}
        return message


def _messages(source: socket.socket) -> Iterator[dict[str, Any]]:
    with source.makefile("rb") as file:
        while True:
            length = 0
            while header := file.readline().strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                return
            yield json.loads(file.read(length))
