"""What a worker tells the supervisor: it loads the application, has loaded it, or why not.

One message is one JSON object in one packet of a SEQPACKET socket pair, so that several workers
can write at the same time. The application server needs to know nothing of it: each worker
inherits the descriptor that its options name (docker_flask/worker_options.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

# A packet must fit the socket's send buffer (212,992 bytes by default); no readable
# traceback is longer than this.
LONGEST_TEXT = 60_000


def send(descriptor: int, state: str, text: str = "", **more: Any) -> bool:
    """Tell the supervisor `loading`, `ready` or `failed`; False when nobody listens.

    descriptor: of the worker's end; more: what else the supervisor should know, as JSON can say it.
    """
    message = {"state": state, "text": text[-LONGEST_TEXT:], "pid": os.getpid(), **more}
    packet = json.dumps(message)
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as channel:
        # uWSGI's own reload (py-autoreload) closes it, and its number is given to something else.
        if channel.type == socket.SOCK_SEQPACKET:
            channel.send(packet.encode())
            return True
    return False


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message on the supervisor's end, None when there is none."""
    try:
        packet = channel.recv(2 * LONGEST_TEXT)
    except BlockingIOError:
        return None
    return json.loads(packet) if packet else None
