"""One line in the container's log, marked as ours."""

from __future__ import annotations

import contextlib
import sys


def log(message: str) -> None:
    """Write a message to stderr; a log that nobody reads any more must not stop the service."""
    with contextlib.suppress(OSError, ValueError):
        print(f"docker-flask: {message}", file=sys.stderr, flush=True)
