"""Messages from a worker to the supervisor: the application is loading, is loaded, or failed.

One message is one JSON object in one packet of a SEQPACKET socket pair, so that several workers can
write at the same time. Each worker inherits the descriptor that its options name
(docker_flask/worker_options.py), and the application server is not involved.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

# A packet must fit into the socket's send buffer (212,992 bytes by default). No readable traceback
# is longer than this.
MAX_TEXT = 60_000


def send(descriptor: int, state: str, text: str = "", **more: Any) -> bool:
    """Send the state `loading`, `ready` or `failed`; returns False if nobody listens.

    descriptor: of the worker's end; more: other values for the supervisor, as JSON.
    """
    message = {"state": state, "text": text[-MAX_TEXT:], "pid": os.getpid(), **more}
    packet = json.dumps(message)
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as channel:
        # uWSGI's own reload (py-autoreload) closes the descriptor, and reuses its number.
        if channel.type == socket.SOCK_SEQPACKET:
            channel.send(packet.encode())
            return True
    return False


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message on the supervisor's end; None if there is none."""
    try:
        packet = channel.recv(2 * MAX_TEXT)
    except BlockingIOError:
        return None
    return json.loads(packet) if packet else None
