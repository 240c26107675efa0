"""Fixtures of several unit tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from docker_flask.shared.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop whose own descriptors, and sockets that it watches, are closed after the test."""
    made = Loop()
    yield made
    for key in list(made._selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
    made._selector.close()
    made._wakeup.close()
