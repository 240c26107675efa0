"""The last connections of a container that stops: who is accepted, refused, or gets a 503."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from docker_flask.first_process.loop import Loop
from docker_flask.supervisor import listener_drain
from docker_flask.supervisor.listener_drain import close_listeners

NOWHERE = 9999  # an option that no kernel knows


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        sock.setblocking(False)
        yield sock


def connect(address: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(address[:2], timeout=2)
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    return client


def test_clients_in_the_queue_are_accepted_and_new_ones_are_refused(
    listener: socket.socket, loop: Loop
) -> None:
    address = listener.getsockname()
    clients = [connect(address) for _ in range(20)]
    refused: list[bool] = []

    def nginx(copy: socket.socket) -> None:
        with copy:
            copy.settimeout(2)
            try:
                connect(address).close()
            except ConnectionRefusedError:
                refused.append(True)
            for _ in clients:
                connection, _ = copy.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"answer")

    # Beside the drain, as nginx is; it starts when the drain looks for half-open connections.
    server = threading.Timer(0.05, nginx, [listener.dup()])
    server.start()
    quits: list[bool] = []
    turned_away = close_listeners([listener], loop, lambda: quits.append(True), lambda: True, 5)
    server.join()
    assert turned_away == 0
    assert quits == [True]
    assert refused == [True]
    assert {client.recv(100) for client in clients} == {b"answer"}
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    for client in clients:
        client.close()


@pytest.mark.parametrize("refuses", [False, True], ids=["binds", "kernel refuses to bind"])
def test_who_is_left_in_the_queue_gets_503(
    listener: socket.socket, loop: Loop, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refuses:
        monkeypatch.setattr(listener_drain, "_SO_BINDTOIFINDEX", NOWHERE)
    clients = [connect(listener.getsockname()) for _ in range(3)]
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
