"""Lines of docker-flask in the container's log."""

from __future__ import annotations

import contextlib
import sys


def log(message: str) -> None:
    """Write a message to stderr; a log without a reader must not stop the service."""
    with contextlib.suppress(OSError, ValueError):
        print(f"docker-flask: {message}", file=sys.stderr, flush=True)
