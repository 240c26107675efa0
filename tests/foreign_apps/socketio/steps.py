"""Flask-SocketIO: a chat of ours, and clients as `io()` makes them, which poll at first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from socketio import Client  # type: ignore[import-untyped]

from tests.support.foreign_apps import Application, Served
from tests.support.harness import wait_for

APPLICATION = Application("socketio")


def talk(served: Served, number: int) -> None:
    """All connect at a time, and hear what each one says; pages answer meanwhile."""
    url = served.container.url("/", served.port)
    clients = [Client(reconnection=False) for _ in range(number)]
    heard: list[list[str]] = [[] for _ in clients]
    for client, words in zip(clients, heard, strict=True):
        client.on("said", words.append)
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(lambda client: client.connect(url), clients))
        assert {client.transport() for client in clients} == {"websocket"}
        served.get("/")
        said = {client.sid for client in clients}
        list(pool.map(lambda client: client.emit("say", client.sid), clients))
        wait_for(lambda: all(len(words) == number for words in heard), 10, f"words: {heard}")
        # In debug mode, Werkzeug keeps a connection for 3 s after its WebSocket.
        list(pool.map(Client.disconnect, clients))
    assert [set(words) for words in heard] == [said] * number


def listen(served: Served) -> None:
    talk(served, 30)


def check(served: Served) -> None:
    talk(served, 2)
