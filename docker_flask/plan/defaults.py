"""Defaults that follow from the limits of the container: nginx's workers and open files.

benchmarks/reports/sizing.md has the measurements for these numbers.
"""

from docker_flask.plan.limits import Limits
from docker_flask.shared.origin import Found, from_limits


def nginx_workers(limits: Limits) -> Found:
    """One nginx worker for four CPUs: one handles more responses than several application workers
    produce, and a second one only adds wake-ups."""
    return _found(limits.whole_cpus // 4, limits.cpus_reason)


def open_files(limits: Limits) -> Found:
    """Open files of each nginx process."""
    return _found(limits.descriptors, f"limit of {limits.descriptors} open files")


def _found(count: int, reason: str) -> Found:
    return from_limits(max(1, count), reason)
