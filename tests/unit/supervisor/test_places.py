"""How many requests run and may wait, as `docker-flask status` and the metrics say it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docker_flask.plan.workers import Workers
from docker_flask.shared.sockets import listen_unix
from docker_flask.supervisor.status import queue_limit, slots, slots_maximum


def test_it_is_what_the_kernel_lets_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    generation: Any = SimpleNamespace(plan=SimpleNamespace(sizing=SimpleNamespace(queue=3)))
    clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(10)]
    with listen_unix(path, 3):
        for client in clients:
            client.setblocking(False)
        waiting = [client for client in clients if client.connect_ex(path) == 0]
        assert len(waiting) == queue_limit(generation)
    for client in clients:
        client.close()


def test_greenlets_count_in_both_numbers() -> None:
    settings, workers = SimpleNamespace(worker_class="gevent"), Workers(2)
    generation: Any = SimpleNamespace(
        plan=SimpleNamespace(settings=settings, workers=workers),
        narrow=SimpleNamespace(workers=lambda: {7, 8}),
        wide=SimpleNamespace(server=None),
    )
    assert slots(generation) == slots_maximum(generation) > len(generation.narrow.workers())
