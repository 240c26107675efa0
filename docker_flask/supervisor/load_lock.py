"""The lock with which workers take turns to load, and its use for workers that can't load.

If a worker can't load the application while others serve, its server starts the next one at once,
for ever. So this process takes the lock for a while, and the next worker waits for its turn.
"""

import fcntl
import os
import re
import time
from pathlib import Path

from docker_flask.shared.log import log

# Seconds until the next try: doubles with each failure.
PAUSE, LONGEST_PAUSE = 1.0, 60.0


class LoadLock:
    """path: of the file that workers lock (wsgi.py). until: the end of the last pause."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failures = 0
        self._reason = ""
        self.until = 0.0
        self._descriptor = -1

    @property
    def is_failing(self) -> bool:
        """True if the last worker that loaded has failed."""
        return self._failures > 0

    def failed(self, reason: str) -> None:
        """Log why a worker can't load, once, and let the next one wait."""
        pause = min(PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures += 1
        self.until = time.monotonic() + pause
        again = f"next try after {pause:g} seconds"
        # Pids and addresses of objects change from one failure to the next.
        before, self._reason = self._reason, re.sub(r"0x[0-9a-f]+|\d+", "", reason)
        if self._reason != before:
            log(f"a worker can't load the application, while others serve; {again}: {reason}")
        else:
            log(f"a worker can't load the application, for the same reason; {again}")
        self.look()

    def loaded(self) -> None:
        """Note that a worker has loaded."""
        if self._failures:
            log(f"a worker has loaded the application, after {self._failures} that could not")
        self._failures, self._reason, self.until = 0, "", 0.0
        self.close()

    def look(self) -> None:
        """Take the lock as soon as no worker has it, or give it back after the pause."""
        if time.monotonic() >= self.until:
            self.close()
        elif self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._descriptor = descriptor
            except BlockingIOError:  # a worker is loading
                os.close(descriptor)

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
