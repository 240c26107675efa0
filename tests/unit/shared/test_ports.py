"""The status port: clients that never read."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from docker_flask.shared.loop import Loop
from docker_flask.shared.ports import MAX_CLIENTS, MAX_UNREAD, answer_probes
from docker_flask.shared.sockets import listen_unix

# Much more than the kernel holds for a connection of this kind.
PAGE = b"x" * (MAX_UNREAD // 3)
KEPT = 3


def test_clients_that_never_read_cost_little_and_the_next_one_is_served(
    loop: Loop, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen_unix(str(tmp_path / "port")))
        answer_probes([listener], loop, {}, {"/metrics": lambda answer: answer(PAGE.decode())})

        def connect() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(listener.getsockname())
            client.settimeout(0.1)
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            loop.turn(1)
            loop.turn(1)
            return client

        clients = [connect() for _ in range(MAX_CLIENTS // 4)]
        last = connect()
        last.setblocking(False)
        received = 0
        while received < len(PAGE):
            loop.turn(0)
            try:
                part = last.recv(1 << 20)
            except BlockingIOError:
                continue
            assert part, "closed before the page was complete"
            received += len(part)
        assert sum(not is_closed(client) for client in clients) <= KEPT


def is_closed(client: socket.socket) -> bool:
    """True if the other end has closed; what has come is read."""
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True
