"""Defaults that follow from the limits of the container: numbers of workers and open files.

benchmarks/reports/sizing.md has the measurements for these numbers.
"""

from operator import itemgetter

from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import Found, from_limits
from docker_flask.configuration.validators import SettingError

# Memory (bytes) of a worker with a Flask application, rounded up; used until a worker is measured.
WORKER_MEMORY = 64 << 20
# Workers for each CPU. FIXED: for a fixed number of workers, which other servers have, and which is
# enough with greenlets. MAX: for uWSGI, where the worker pool adds workers while requests wait and
# a CPU is free.
FIXED, MAX = 2, 16
_COUNT = itemgetter(0)
# Processes other than workers: nginx, the servers' first processes, the supervisor, a command.
OTHER_PROCESSES = 10


def workers(limits: Limits) -> Found:
    """A placeholder: `settle_workers` computes the number, because it knows the other settings."""
    return from_limits(0, limits.cpus_reason)


def nginx_workers(limits: Limits) -> Found:
    """One nginx worker for four CPUs: one handles more responses than several application workers
    produce, and a second one only adds wake-ups."""
    return _found(limits.whole_cpus // 4, limits.cpus_reason)


def open_files(limits: Limits) -> Found:
    """Open files of each nginx process."""
    return _found(limits.descriptors, f"limit of {limits.descriptors} open files")


def settle_workers(found: dict[str, Found], limits: Limits) -> None:
    """Decide WEB_CONCURRENCY and UWSGI_CHEAPER together; raises SettingError.

    found: all settings by the names of their fields; this function changes these two.
    """
    maximum, minimum = found["web_concurrency"], found["uwsgi_cheaper"]
    is_uwsgi, worker_class = found["app_server"].value == "uwsgi", found["worker_class"].value
    largest = _max_workers(limits, found["threads"].value)
    if maximum.is_computed:
        memory = _found(worker_memory(limits) // WORKER_MEMORY, limits.memory_reason)
        if minimum.is_computed and is_uwsgi and worker_class != "gevent":
            # More workers than CPUs would only share them; but at least two, because one request
            # could block all others until a second worker starts.
            first = _found(max(2, limits.whole_cpus), limits.cpus_reason)
            minimum = min(first, memory, largest, key=_COUNT)
        elif minimum.is_computed or not is_uwsgi:
            minimum = Found(0, minimum.origin)
        if minimum.value:  # a minimum above the computed maximum raises that maximum
            maximum = max(minimum, largest, key=_COUNT)
        else:
            fixed = _found(FIXED * limits.whole_cpus, limits.cpus_reason)
            maximum = min(fixed, memory, largest, key=_COUNT)
    elif minimum.is_computed:
        minimum = Found(0, maximum.origin)
    elif minimum.value >= maximum.value:
        raise SettingError(
            f"{minimum.origin}={minimum.value} is not allowed; "
            f"use a whole number below {maximum.origin}={maximum.value}"
        )
    if minimum.value >= maximum.value:  # uWSGI accepts no such minimum
        minimum = Found(0, minimum.origin)
    found.update(web_concurrency=maximum, uwsgi_cheaper=minimum)


def worker_memory(limits: Limits) -> int:
    """Bytes for the workers of one generation: half of the memory, as a reload runs two."""
    return limits.memory // 2


def _max_workers(limits: Limits, threads: int) -> Found:
    """Workers that the CPUs, open files and processes allow.

    The worker pool measures how many workers the memory allows.
    """
    # uWSGI's first process holds two open files for each possible worker.
    choices = [
        _found(min(1024, MAX * limits.whole_cpus), limits.cpus_reason),
        _found(limits.descriptors // 8, f"limit of {limits.descriptors} open files"),
    ]
    if limits.processes:
        # A thread counts as a process. The watchdog is one more; a reload doubles all workers.
        count = (limits.processes - OTHER_PROCESSES) // (2 * (threads + 1))
        choices.append(_found(count, f"limit of {limits.processes} processes"))
    return min(choices, key=_COUNT)


def _found(count: int, reason: str) -> Found:
    return from_limits(max(1, count), reason)
