"""Numbers of connections, from the kernel's tables."""

from pathlib import Path

from docker_flask.shared import paths

# States of TCP, and SO_ACCEPTCON of a unix socket.
ESTABLISHED, SYN_RECEIVED = "01", "03"
_LISTENING_FLAG = "00010000"


def to_socket(path: Path) -> int:
    """Connections to a listening unix socket, in its queue or accepted.

    The kernel lists each connection with the path of the listening socket.
    """
    return sum(
        fields[-1] == str(path) and fields[3] != _LISTENING_FLAG
        for fields in _rows("/proc/net/unix")
    )


def to_port(port: int, state: str = ESTABLISHED) -> int:
    """TCP connections to a port of this container in a state."""
    wanted = f"{port:04X}"
    return sum(
        fields[1].rpartition(":")[2] == wanted and fields[3] == state
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in _rows(table)
    )


def _rows(path: str) -> list[list[str]]:
    """The fields of a kernel table's rows; none if the kernel has no such table."""
    rows = [line.split() for line in paths.read(path).decode(errors="replace").splitlines()[1:]]
    return [fields for fields in rows if len(fields) > 3]
