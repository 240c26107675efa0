"""Requests whose client has left: the application does not see them."""

from __future__ import annotations

import socket
import sys
import types

import pytest

from docker_flask.worker.middleware import clients
from docker_flask.worker.middleware.exchange import Exchange


def test_a_worker_leaves_out_requests_whose_client_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, client = socket.socketpair()
    uwsgi = types.SimpleNamespace(connection_fd=connection.fileno)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    now = 1000.0
    monkeypatch.setattr(clients, "monotonic", lambda: now)
    handle = clients.clients(lambda _: [b"served"])

    def served() -> bool:
        exchange = Exchange({})
        parts = handle(exchange)
        assert (exchange.status == "499 Client Closed Request") == (parts == [])
        return bool(parts)

    with connection:
        assert served()
        client.close()
        assert served(), "no look within the pause"
        now += clients.PAUSE
        # While they have left, each one is looked at.
        assert [served() for _ in range(3)] == [False] * 3


def test_a_server_without_this_look() -> None:
    assert "uwsgi" not in sys.modules

    def handle(_: Exchange) -> list[bytes]:
        return []

    assert clients.clients(handle) is handle
