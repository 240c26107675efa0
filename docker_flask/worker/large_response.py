"""Large responses: a worker writes one into a file, nginx sends the file, and the worker is free.

Otherwise a client that reads slowly would hold the worker, and some of them all workers. nginx has
no way for this that survives a full disk: it would cut the response. Here the worker sends a
response itself if its file finds no room.

nginx marks a file when it opens it, and removes it when it closes it (nginx/preload.c). So the
folder shows which responses their clients have not read yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import secrets
import threading
import time
from collections.abc import Callable

from docker_flask.worker.wsgi_types import Environ

# Bytes of a response that the kernel takes at once (docker_flask/first_process/sockets.py).
LARGE = 128 << 10
# A file belongs to no response if nginx has not opened it, or not closed it, after these seconds.
UNOPENED, UNCLOSED = 2, 3600
# Responses to one public address may take the room divided by this. Private addresses may be
# proxies, with many clients behind them.
ADDRESS_SHARE = 4
# A worker may send responses itself with its threads divided by this: with all of them, it would
# serve nobody, and if its requests take much memory, it gets no more threads (threads.py).
BUSY_SHARE = 16
# Seconds after which a worker gives the kernel back the memory of large responses, which the C
# library keeps.
TRIM_AFTER = 5.0
# All threads of a worker take memory from one arena of the C library: malloc_trim() does not find
# what is free at the end of the others, up to the size of the largest block in each (mallopt(3)).
# Python's lock lets one thread at a time allocate in any case.
M_ARENA_MAX, ARENAS = -8, 1
# The name of a file has the address of the client in front of this.
SEPARATOR = "-"


class Busy(Exception):
    """The clients have not read the responses that they have: no room for another."""


class LargeResponses:
    """The files of a container."""

    def __init__(self, folder: str, room: int, simultaneous: Callable[[], int]) -> None:
        """room: bytes of all files; simultaneous: returns how many requests this worker can run."""
        self._folder = folder
        self._room = room
        self._simultaneous = simultaneous
        self._will_trim = False
        self._libc = ctypes.CDLL(None)
        self._libc.mallopt(M_ARENA_MAX, ARENAS)

    def write(self, environ: Environ, data: bytes, active: int) -> str | None:
        """The path of a file with the data; None if the worker is to send the data itself.

        active: requests that the worker runs. Raises Busy if others need the worker more.
        """
        if not self._will_trim:
            self._will_trim = True
            timer = threading.Timer(TRIM_AFTER, self._trim)
            timer.daemon = True
            timer.start()
        size, address = len(data), environ.get("REMOTE_ADDR", "")
        if size > self._room // 2:
            return None
        of_all, of_address = self._sizes(address)
        too_many = of_all + size > self._room or (
            of_address and of_address + size > self._room // ADDRESS_SHARE and _is_public(address)
        )
        if too_many and active > self._simultaneous() // BUSY_SHARE:
            raise Busy
        return None if too_many else self._write(address, data)

    def _trim(self) -> None:
        self._will_trim = False
        self._libc.malloc_trim(0)

    def _sizes(self, address: str) -> tuple[int, int]:
        """The bytes of all files, and of those for one address."""
        of_all = of_address = 0
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self._folder) as files:
            for file in files:
                with contextlib.suppress(OSError):
                    found = file.stat()
                    limit = UNOPENED if found.st_mode & 0o200 else UNCLOSED
                    if now - found.st_mtime > limit:
                        os.unlink(file.path)
                        continue
                    of_all += found.st_size
                    if file.name.startswith(address + SEPARATOR):
                        of_address += found.st_size
        return of_all, of_address

    def _write(self, address: str, data: bytes) -> str | None:
        path = f"{self._folder}/{address}{SEPARATOR}{secrets.token_hex(8)}"
        try:
            with open(path, "xb", buffering=0, opener=_private) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
        except (OSError, ValueError):  # the disk is full
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
