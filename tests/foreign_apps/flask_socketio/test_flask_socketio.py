"""Flask-SocketIO: the examples of its page "Getting Started", with clients on WebSockets."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from tests.support.foreign_apps import MODES, Application, Serve, Served

APPLICATION = Application(
    "flask_socketio",
    source="docs/getting_started.rst",
    examples=(
        "from flask import Flask, render_template",
        "from flask_socketio import send, emit",
        "from flask_socketio import join_room, leave_room",
        "@socketio.on('connect')",
    ),
    edited="/app/app.py",
    page="/socket.io/?EIO=4&transport=polling",
    env={"WEB_CONCURRENCY": "1"},
)
CONNECT, EVENT, GOING_AWAY = "40", "42", 1001


class Client:
    """Speaks Socket.IO, as its own client with `transports: ["websocket"]`."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection

    def receive(self) -> list[Any]:
        """The next event."""
        text = str(self._connection.recv())
        assert text.startswith(EVENT), text
        return json.loads(text.removeprefix(EVENT))

    def emit(self, *event: Any) -> None:
        """Send an event."""
        self._connection.send(EVENT + json.dumps(event))

    def close_code(self) -> int:
        """The code of the close frame that the server sends next."""
        opcode, data = self._connection.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")


@contextlib.contextmanager
def connected(served: Served) -> Iterator[Client]:
    """A client that has connected."""
    address = "127.0.0.1", served.container.port(served.port)
    with socket.create_connection(address, timeout=10) as tcp:
        connection = websocket.create_connection(
            "ws://127.0.0.1/socket.io/?EIO=4&transport=websocket",
            timeout=10,
            socket=tcp,
        )
        assert str(connection.recv()).startswith("0{")
        connection.send(CONNECT)
        client = Client(connection)
        first = [str(connection.recv()) for _ in range(2)]
        assert any(text.startswith(CONNECT) for text in first)
        assert f'{EVENT}["my response",{{"data":"Connected"}}]' in first
        yield client
        connection.close(timeout=1)


@pytest.mark.timeout(300)  # with the build of an image
@pytest.mark.parametrize("mode", MODES)
def test_flask_socketio(serve: Serve, mode: str) -> None:
    served = serve(APPLICATION, mode)
    with served.step("start"):
        served.start()
    with served.step("write"), connected(served) as ada, connected(served) as bob:
        ada.emit("my event", {"tea": "green"})
        assert ada.receive() == ["my response", {"tea": "green"}]
        for client, name in ((ada, "Ada"), (bob, "Bob")):
            client.emit("join", {"username": name, "room": "kitchen"})
            assert client.receive() == ["message", f"{name} has entered the room."]
        assert ada.receive() == ["message", "Bob has entered the room."]
    with served.step("reload"), connected(served) as ada:
        served.reload()
        if served.mode == "production":
            ada.emit("json", {"still": "here"})
            assert ada.receive() == ["json", {"still": "here"}]
        with connected(served) as bob:
            bob.emit("message", "hello")
            assert bob.receive() == ["message", "hello"]
    with served.step("stop"), connected(served) as ada:
        served.stop()
        if served.mode == "production":
            assert ada.close_code() == GOING_AWAY
