"""Schedulers that the application runs in its own process, and so in each worker."""

from __future__ import annotations

import gc
import sys


def is_running() -> bool:
    """True if a scheduler of APScheduler 3 runs in this process.

    This imports nothing: an application without APScheduler has no such scheduler.
    """
    base = getattr(sys.modules.get("apscheduler.schedulers.base"), "BaseScheduler", None)
    if not base:
        return False
    # Not isinstance(), which calls code of the objects.
    found = (thing for thing in gc.get_objects() if issubclass(type(thing), base))
    return any(scheduler.running for scheduler in found)
