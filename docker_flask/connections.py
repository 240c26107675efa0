"""Who is connected, as the kernel counts it."""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path

_ESTABLISHED, _SYN_RECEIVED = "01", "03"
_LISTENING_FLAG = "00010000"  # SO_ACCEPTCON
# What a listening socket reports in tcp_info as "unacked" is the length of its queue
# (tcp_get_info in net/ipv4/tcp.c): the fifth 32-bit number after eight bytes.
_UNACKED_OFFSET = 24


def to_socket(path: Path) -> int:
    """Connections to a listening unix socket that wait or are being served.

    The kernel lists each under the path of the socket that accepts it.
    """
    return sum(
        words[-1] == str(path) and words[3] != _LISTENING_FLAG
        for words in (line.split() for line in _lines("/proc/net/unix"))
    )


def to_port(port: int) -> int:
    """TCP connections that clients have open to a port of this container."""
    return _in_state(_ESTABLISHED, port)


def half_open_to_port(port: int) -> int:
    """TCP connections to a port of this container whose client has not finished the handshake."""
    return _in_state(_SYN_RECEIVED, port)


def _in_state(state: str, port: int) -> int:
    wanted = f"{port:04X}"
    return sum(
        words[1].rpartition(":")[2] == wanted and words[3] == state
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for words in (line.split() for line in _lines(table))
    )


def queued(listener: socket.socket) -> int:
    """Connections that wait in a listening TCP socket's queue."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, _UNACKED_OFFSET)[0])


def anyone_waits(listener: int) -> bool:
    """True if a connection stands in this listening socket's queue: its descriptor can be read."""
    queue = select.poll()
    queue.register(listener, select.POLLIN)
    return bool(queue.poll(0))


def _lines(path: str) -> list[str]:
    """The lines of a kernel table without its heading; none where the kernel lacks it."""
    try:
        return Path(path).read_text().splitlines()[1:]
    except OSError:
        return []
