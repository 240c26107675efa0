"""The last connections of a container that stops: who gets a 503."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from docker_flask.shared.loop import Loop
from docker_flask.supervisor import listener_drain
from docker_flask.supervisor.listener_drain import close_listeners

NOWHERE = 9999  # an option that no kernel knows


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        sock.setblocking(False)
        yield sock


@pytest.mark.parametrize("refuses", [False, True], ids=["binds", "kernel refuses to bind"])
def test_who_is_left_in_the_queue_gets_503(
    listener: socket.socket, loop: Loop, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refuses:
        monkeypatch.setattr(listener_drain, "_SO_BINDTOIFINDEX", NOWHERE)
    clients = [socket.create_connection(listener.getsockname(), timeout=2) for _ in range(3)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    answers: list[bytes] = []

    def read() -> None:
        for client in clients:
            with client:
                answers.append(client.recv(1000))

    reader = threading.Thread(target=read)
    reader.start()
    assert close_listeners([listener], loop, lambda: None, lambda: True, 0.1) == 3
    reader.join()
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
