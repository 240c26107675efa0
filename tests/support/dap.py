"""An editor's side of the Debug Adapter Protocol, as much of it as a breakpoint needs."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any


def message(number: int, command: str, **arguments: Any) -> bytes:
    """A request of the protocol: its only header, and its body."""
    request = {"seq": number, "type": "request", "command": command, "arguments": arguments}
    body = json.dumps(request).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


class Editor:
    """An editor that attaches to a port as VS Code does."""

    def __init__(self, port: int, seconds: float = 15) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), seconds)
        self._file = self._socket.makefile("rb")
        self._sent = 0
        self._messages: list[dict[str, Any]] = []

    def attach(self, file: str, line: int) -> None:
        """Attach, and set a breakpoint in a file of the container."""
        self._send("initialize", adapterID="debugpy", pathFormat="path", linesStartAt1=True)
        attach = self._send("attach", justMyCode=True)
        self.wait_for("initialized")
        self.ask("setBreakpoints", source={"path": file}, breakpoints=[{"line": line}])
        self.ask("configurationDone")
        self._response(attach)

    def variables(self, stopped: dict[str, Any]) -> dict[str, str]:
        """The local variables where a thread has stopped."""
        (frame, *_) = self.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
        scopes = self.ask("scopes", frameId=frame["id"])["scopes"]
        found = self.ask("variables", variablesReference=scopes[0]["variablesReference"])
        return {variable["name"]: variable["value"] for variable in found["variables"]}

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request; returns the body of its response."""
        return self._response(self._send(command, **arguments))

    def wait_for(self, name: str) -> dict[str, Any]:
        """The body of the next event with this name."""
        return self._find("event", name).get("body", {})

    def wait_for_end(self) -> None:
        """Wait until the debugger closes the connection."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self._read()
        self._socket.close()

    def _send(self, command: str, **arguments: Any) -> int:
        self._sent += 1
        self._socket.sendall(message(self._sent, command, **arguments))
        return self._sent

    def _response(self, number: int) -> dict[str, Any]:
        response = self._find("request_seq", number)
        assert response["success"], response
        return response.get("body", {})

    def _find(self, key: str, value: Any) -> dict[str, Any]:
        """The next message, an event or a response, that has this value."""
        while True:
            for message in self._messages:
                if message.get(key) == value:
                    self._messages.remove(message)
                    return message
            self._read()

    def _read(self) -> None:
        length = 0
        while line := self._file.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if not length:
            raise EOFError("the debugger has closed the connection")
        self._messages.append(json.loads(self._file.read(length)))
