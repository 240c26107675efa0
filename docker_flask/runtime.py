"""Where a running container keeps its sockets, and as whom it runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from pathlib import Path

from docker_flask.places import CONTROL_SOCKET, FOLDERS

SERVICE_USER = "www-data"


def make_folder() -> Path:
    """An empty folder for this start, whatever an earlier one left; raises OSError."""
    import shutil  # takes longer to load than all else here, and the port is not bound yet

    problem: OSError | None = None
    for folder in map(Path, FOLDERS):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for leftover in folder.iterdir():
                is_folder = leftover.is_dir() and not leftover.is_symlink()
                shutil.rmtree(leftover) if is_folder else leftover.unlink()
            (folder / ".probe").touch()
            (folder / ".probe").unlink()
            return folder
        except OSError as error:
            problem = error
    raise problem or OSError("no folder for sockets")


def find_folder() -> Path | None:
    """The folder of the supervisor that runs in this container, None if there is none."""
    for folder in map(Path, FOLDERS):
        with contextlib.suppress(PermissionError):
            if (folder / CONTROL_SOCKET).exists():
                return folder
    return None


def point(link: Path, target: str) -> None:
    """Let a symbolic link lead elsewhere, in one step."""
    fresh = link.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def everywhere(port: int) -> list[tuple[str, int]]:
    """A port of all IPv4 and all IPv6 addresses."""
    return [("0.0.0.0", port), ("::", port)]


def bind(places: list[tuple[str, int]]) -> list[socket.socket]:
    """Listening sockets on hosts and ports; IPv6 only where the kernel has it.

    They accept connections into their queue at once; nginx takes them over later.
    Raises OSError when a port can't be bound.
    """
    listeners = []
    for host, port in places:
        if ":" in host:
            with contextlib.suppress(OSError):
                listeners.append(_listen(socket.AF_INET6, (host, port)))
        else:
            listeners.append(_listen(socket.AF_INET, (host, port)))
    return listeners


def ports(listeners: list[socket.socket]) -> list[int]:
    """The ports of listening sockets, each once."""
    return sorted({listener.getsockname()[1] for listener in listeners})


def addresses(listeners: list[socket.socket]) -> list[str]:
    """The addresses of listening sockets as nginx writes them."""
    return [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port, *_ in (listener.getsockname() for listener in listeners)
    ]


def _listen(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
        # nginx takes it as it is, and would hang in accept() with nobody waiting.
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def service_ids() -> tuple[int, int]:
    """User and group that production runs as when it is started as root."""
    entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def owner_ids(folder: Path) -> tuple[int, int]:
    """User and group of a folder, for what is written into a bind mount."""
    status = folder.stat()
    return status.st_uid, status.st_gid


def why_not_readable(folder: Path) -> str:
    """Why this user can't read the application's folder, and what to do; empty if it can."""
    if os.access(folder, os.R_OK | os.X_OK):
        return ""
    status = folder.stat()
    or_as_owner = f", or run the container with --user {status.st_uid}" if status.st_uid else ""
    return (
        f"{folder} can't be read by uid {os.geteuid()}: it belongs to uid {status.st_uid} with "
        f"mode {status.st_mode & 0o777:o}; allow others to read it (chmod -R o+rX){or_as_owner}"
    )


def become(uid: int, gid: int) -> None:
    """Leave root for good; does nothing for a process that is not root.

    The log is handed over first, or nginx could not open /dev/stdout again. A container that
    may not change users (`--cap-drop ALL`) goes on as a root that has no privileges.
    """
    if os.geteuid() != 0:
        return
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            os.fchown(stream, uid, gid)
    # Root's own is closed to others, and libraries keep caches at home.
    os.environ["HOME"] = "/tmp"
    with contextlib.suppress(PermissionError):
        os.setgroups([group for group in os.getgroups() if group != 0])
        os.setgid(gid)
        os.setuid(uid)
