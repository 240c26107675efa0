"""Numbers of connections, from the kernel's tables."""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path

_ESTABLISHED, _SYN_RECEIVED = "01", "03"
_LISTENING_FLAG = "00010000"  # SO_ACCEPTCON
# The field "unacked" in tcp_info of a listening socket is the length of the socket's queue
# (tcp_get_info in net/ipv4/tcp.c): the fifth 32-bit number after eight bytes.
_UNACKED_OFFSET = 24


def to_socket(path: Path) -> int:
    """Connections to a listening unix socket, in its queue or accepted.

    The kernel lists each connection with the path of the listening socket.
    """
    return sum(
        fields[-1] == str(path) and fields[3] != _LISTENING_FLAG
        for fields in _rows("/proc/net/unix")
    )


def to_port(port: int) -> int:
    """Established TCP connections to a port of this container."""
    return _in_state(_ESTABLISHED, port)


def half_open_to_port(port: int) -> int:
    """TCP connections to a port of this container with an unfinished handshake."""
    return _in_state(_SYN_RECEIVED, port)


def _in_state(state: str, port: int) -> int:
    wanted = f"{port:04X}"
    return sum(
        fields[1].rpartition(":")[2] == wanted and fields[3] == state
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in _rows(table)
    )


def queued(listener: socket.socket) -> int:
    """Connections in the queue of a listening TCP socket; at most 1 if only that is known."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("I", info, _UNACKED_OFFSET)[0])
    except (OSError, struct.error):  # gVisor, and qemu's user emulation, which gives four bytes
        return int(anyone_waits(listener.fileno()))


def anyone_waits(listener: int) -> bool:
    """True if the queue of this listening socket holds a connection (the socket is readable)."""
    queue = select.poll()
    queue.register(listener, select.POLLIN)
    return bool(queue.poll(0))


def _rows(path: str) -> list[list[str]]:
    """The fields of a kernel table's rows; none if the kernel has no such table."""
    try:
        rows = [line.split() for line in Path(path).read_text().splitlines()[1:]]
    except OSError:
        return []
    return [fields for fields in rows if len(fields) > 3]
