"""nginx's worker processes, as process 1 sees them.

nginx replaces a worker that died. But it starts no other one if the container has too few processes
at that moment, or if the new worker can't start its threads. While others are left, they serve.
"""

import time

from docker_flask.shared import paths, process
from docker_flask.shared.log import log

# Seconds after which nginx is started again: at first, and at most. They double.
MEND_AFTER, LONGEST_PAUSE = 1.0, 30.0
# The titles of nginx's processes; a worker that ends after a reload has another one.
_MASTER, _WORKER = b"nginx: master process", b"nginx: worker process"


def serving(pid: int) -> set[int]:
    """The workers of the nginx with this first process that accept connections."""
    return {child for child in process.children(pid) if title(child) == _WORKER} if pid else set()


def title(pid: int) -> bytes:
    """What a process calls itself; its command line if it has no title."""
    return paths.read(f"/proc/{pid}/cmdline").partition(b"\0")[0].strip()


class Shortage:
    """Decides when nginx has to be started again because it has no worker."""

    def __init__(self) -> None:
        self._act_at, self._pause = 0.0, MEND_AFTER
        self._begun_at = 0.0

    def begin(self) -> None:
        """Note that nginx starts, or reloads."""
        self._begun_at = time.monotonic()
        self._act_at = max(self._act_at, self._begun_at + MEND_AFTER)

    def is_new(self) -> bool:
        """True if nginx has just started or reloaded; connections queue meanwhile."""
        return time.monotonic() - self._begun_at < MEND_AFTER

    def needs_help(self, pid: int, has_workers: bool) -> bool:
        """True if nginx has to be started again now; call this often.

        pid: of nginx's first process; has_workers: some that accept connections.
        """
        now = time.monotonic()
        if has_workers or not pid:
            self._act_at, self._pause = now + MEND_AFTER, MEND_AFTER
            return False
        if not title(pid).startswith(_MASTER):  # it starts
            self._act_at = max(self._act_at, now + MEND_AFTER)
        if now < self._act_at:
            return False
        log("nginx has no worker process; starting nginx again")
        self._act_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return True
