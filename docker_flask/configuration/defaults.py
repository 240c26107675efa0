"""Defaults that follow from the limits of the container: numbers of workers and open files.

benchmarks/reports/sizing.md has the measurements for these numbers.
"""

from __future__ import annotations

from typing import Any

from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import Found, from_limits
from docker_flask.configuration.validators import SettingError

# Memory (bytes) of a worker with a Flask application, rounded up; used until a worker is measured.
WORKER_MEMORY = 64 << 20
# Workers for each CPU. FIXED: for a fixed number of workers. MAX: for uWSGI with a fixed number of
# threads, where the worker pool adds workers while requests wait and a CPU is free.
# MAX_WITH_THREADS: for uWSGI workers that add threads before the worker pool adds workers.
FIXED, MAX, MAX_WITH_THREADS = 2, 16, 4
# Processes other than workers: nginx, the servers' first processes, the supervisor, a command.
OTHER_PROCESSES = 10


def min_workers(limits: Limits) -> Found:
    """One worker for each CPU, because more workers would only share them; at least two, because
    one request could block all others until a second worker starts."""
    return _in_memory(max(2, limits.whole_cpus), limits)


def max_workers(limits: Limits) -> Found:
    """Workers that the CPUs, open files and processes allow.

    The worker pool measures how many workers the memory allows.
    """
    # uWSGI's first process holds two open files for each possible worker.
    choices = [
        _found(min(1024, MAX * limits.whole_cpus), limits.cpus_reason),
        _found(limits.descriptors // 8, f"limit of {limits.descriptors} open files"),
    ]
    if limits.processes:
        # A worker counts twice, because its watchdog is a thread; a reload doubles all workers.
        count = (limits.processes - OTHER_PROCESSES) // 4
        choices.append(_found(count, f"limit of {limits.processes} processes"))
    return _smallest(*choices)


def nginx_workers(limits: Limits) -> Found:
    """One nginx worker for four CPUs: one handles more responses than several application workers
    produce, and a second one only adds wake-ups."""
    return _found(limits.whole_cpus // 4, limits.cpus_reason)


def open_files(limits: Limits) -> Found:
    """Open files of each nginx process."""
    return _found(limits.descriptors, f"limit of {limits.descriptors} open files")


def settle_workers(found: dict[str, Found], limits: Limits) -> None:
    """Resolve conflicts of WEB_CONCURRENCY, UWSGI_CHEAPER and THREADS; raises SettingError.

    found: all settings by the names of their fields; this function changes them.
    """
    maximum, minimum = found["web_concurrency"], found["uwsgi_cheaper"]
    is_uwsgi, worker_class = found["app_server"].value == "uwsgi", found["worker_class"].value
    decides = maximum.is_computed and minimum.is_computed and bool(minimum.value)
    if maximum.is_computed:
        # With greenlets, more workers are not needed; other servers have a fixed number of workers.
        has_greenlets = worker_class == "gevent" and minimum.is_computed
        if minimum.value == 0 or has_greenlets or not is_uwsgi:
            found["web_concurrency"] = _in_memory(FIXED * limits.whole_cpus, limits)
            found["uwsgi_cheaper"] = Found(0, minimum.origin)
        elif minimum.value >= maximum.value:  # the minimum raises the computed maximum
            found["web_concurrency"] = minimum
            found["uwsgi_cheaper"] = Found(0, minimum.origin)
    elif minimum.is_computed:
        found["uwsgi_cheaper"] = Found(0, maximum.origin)
    elif minimum.value >= maximum.value:
        raise SettingError(
            f"{minimum.origin}={minimum.value} is not allowed; "
            f"use a whole number below {maximum.origin}={maximum.value}"
        )
    threads = found["threads"]
    if not is_uwsgi or worker_class or not decides:
        found["threads"] = Found(threads.value or 1, threads.origin)
    elif not threads.value:
        count = min(maximum.value, MAX_WITH_THREADS * limits.whole_cpus)
        found["web_concurrency"] = Found(max(minimum.value, count), maximum.origin)


def worker_memory(limits: Limits) -> int:
    """Bytes for the workers of one generation: half of the memory, as a reload runs two."""
    return limits.memory // 2


def _in_memory(count: int, limits: Limits) -> Found:
    memory = _found(worker_memory(limits) // WORKER_MEMORY, limits.memory_reason)
    return _smallest(_found(count, limits.cpus_reason), memory, max_workers(limits))


def _found(count: int, reason: str) -> Found:
    return Found(max(1, count), from_limits(reason))


def _smallest(*choices: Found) -> Found:
    smallest: Any = min(choices, key=lambda choice: choice.value)
    return Found(smallest.value, smallest.origin)
