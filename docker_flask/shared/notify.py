"""Messages from a worker to the supervisor: the application is loading, is loaded, or failed.

One message is one JSON object in one packet of a SEQPACKET socket pair, so that several workers can
write at the same time. Each worker inherits the descriptor that its options name
(worker_options.py), and the application server is not involved. The application has
this descriptor, too: the supervisor trusts no message.
"""

import contextlib
import json
import os
import socket
from typing import Any

from docker_flask.shared.log import log

# Bytes of a packet, which must fit into the socket's send buffer (212,992 bytes by default), and
# letters of a text, each of which takes up to twelve bytes.
MAX_PACKET, MAX_TEXT = 131_072, 10_000
# Linux has no larger pid.
MAX_PID = 1 << 22
# What reading a wrong message raises.
INVALID = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def send(descriptor: int, state: str, text: str = "", **more: Any) -> bool:
    """Send the state `loading`, `ready`, `failed` or `retired`; returns False if nobody listens.

    descriptor: of the worker's end; text: its end is sent if it is too long; more: other values for
    the supervisor, as JSON.
    """
    message = {"state": state, "text": text[-MAX_TEXT:], "pid": os.getpid(), **more}
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as channel:
        # uWSGI's own reload (py-autoreload) closes the descriptor, and reuses its number.
        if channel.type == socket.SOCK_SEQPACKET:
            channel.send(json.dumps(message).encode())
            return True
    return False


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message on the supervisor's end; None if no message waits, or if it is invalid."""
    try:
        packet = channel.recv(MAX_PACKET)
    except BlockingIOError:
        return None
    try:
        message: dict[str, Any] = json.loads(packet)
        words = message["state"] + message["text"]
        if words and isinstance(words, str) and 0 < int(message["pid"]) <= MAX_PID:
            return message
    except INVALID:
        pass
    ignore(packet)
    return None


def ignore(message: object) -> None:
    """Log that a message was wrong."""
    log(f"ignored an invalid message on a worker's descriptor: {repr(message)[:100]}")
