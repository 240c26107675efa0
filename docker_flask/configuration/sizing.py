"""How many workers, threads and connections there are: every rule for a size, in one place.

docs/sizing.md has the measurements behind the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import Found, from_limits

if TYPE_CHECKING:
    from docker_flask.configuration.settings import Settings

# Bytes that a Flask application takes in each worker, rounded up: used until one was measured.
WORKER_MEMORY = 64 << 20
# Workers for each CPU. FIXED: of a server that keeps all its workers. MAX: of uWSGI with a fixed
# number of threads, which starts workers while requests wait for something other than a CPU.
# MAX_WITH_THREADS: of uWSGI that starts threads before it starts workers.
FIXED, MAX, MAX_WITH_THREADS = 2, 16, 4
# Threads of a uWSGI worker where the image chooses their number. Few workers with many threads are
# better than many workers, because each worker has its own pool of database connections:
# SQLAlchemy's holds 15, and PostgreSQL takes 100. A thread that is not started costs 2 KB.
MAX_THREADS = 128
# Requests that a worker of class gevent takes at a time; Gunicorn's own default.
GREENLETS = 1000
# Processes that are no workers: nginx, the servers' first processes, the supervisor, a command.
OTHER_PROCESSES = 10
# Requests that may wait for a worker: a thousand clients that come at the same moment. A longer
# queue costs good answers under too much load: on half a CPU, 4,096 cost a third of them. Workers
# that skip requests whose client has gone (threads_plugin.c) may let as many small requests wait
# as their CPUs answer in half a second.
QUEUE, QUEUE_OF_A_CPU = 1024, 2048
# Connections of each nginx worker that carry no request, or one that is not read yet.
IDLE_CONNECTIONS = 4096
# Cached pages that nginx keeps open, and as many static files; fewer under a low limit.
OPEN_FILES = 256
# Idle connections to the application that each nginx worker keeps.
KEPT_CONNECTIONS = 64
# Descriptors that nginx needs for itself: sockets, log, event queue.
OWN_DESCRIPTORS = 24


def min_workers(limits: Limits) -> Found:
    """One worker a CPU, because more would only take turns; and never one alone, because one
    request could then block all others until a second worker has started."""
    return _in_memory(max(2, limits.whole_cpus), limits)


def max_workers(limits: Limits) -> Found:
    """Workers that the number of CPUs, open files and processes allows.

    The worker pool measures for how many the memory has room.
    """
    # uWSGI's first process holds two open files for each possible worker.
    choices = [
        _found(min(1024, MAX * limits.whole_cpus), limits.cpus_source),
        _found(limits.descriptors // 8, f"limit of {limits.descriptors} open files"),
    ]
    if limits.processes:
        # A worker counts twice, because of its watchdog's thread; and a reload doubles all.
        count = (limits.processes - OTHER_PROCESSES) // 4
        choices.append(_found(count, f"limit of {limits.processes} processes"))
    return _smallest(*choices)


def nginx_workers(limits: Limits) -> Found:
    """One nginx worker for four CPUs: one answers more than a handful of application workers can
    produce, and a second one only adds wake-ups between the two."""
    return _found(limits.whole_cpus // 4, limits.cpus_source)


def open_files(limits: Limits) -> Found:
    """Open files of each nginx process."""
    return _found(limits.descriptors, f"limit of {limits.descriptors} open files")


def settle_workers(found: dict[str, Found], limits: Limits) -> None:
    """Bring WEB_CONCURRENCY, UWSGI_CHEAPER and THREADS into agreement; raises SettingError.

    found: all settings by the names of their fields, changed in place.
    """
    maximum, minimum = found["web_concurrency"], found["uwsgi_cheaper"]
    is_uwsgi, worker_class = found["app_server"].value == "uwsgi", found["worker_class"].value
    decides = maximum.is_computed and minimum.is_computed and bool(minimum.value)
    if maximum.is_computed:
        # Greenlets are enough for requests that wait; the other servers keep all their workers.
        has_greenlets = worker_class == "gevent" and minimum.is_computed
        if minimum.value == 0 or has_greenlets or not is_uwsgi:
            found["web_concurrency"] = _in_memory(FIXED * limits.whole_cpus, limits)
            found["uwsgi_cheaper"] = Found(0, minimum.origin)
        elif minimum.value >= maximum.value:  # a minimum above the computed maximum raises that
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
    """Bytes for the workers of one generation: half of all, because a reload runs two."""
    return limits.memory // 2


@dataclass(frozen=True)
class Sizing:
    """Sizes that follow from the settings and the limits of the container.

    requests_per_worker, max_requests: requests that a worker, and all workers, answer at a time.
    max_threads: threads that a worker may have.
    nginx_workers: processes of nginx; of each: nginx_descriptors: open files, nginx_connections:
    connections, idle_connections: those of clients without a request, kept_connections: idle ones
    to the application, open_files: cached pages that it keeps open, and as many static files.
    admitted_requests: requests that are answered or wait; more get 503.
    """

    requests_per_worker: int
    max_threads: int
    nginx_workers: int
    nginx_descriptors: int
    nginx_connections: int
    idle_connections: int
    kept_connections: int
    open_files: int
    admitted_requests: int


def compute(settings: Settings, limits: Limits) -> Sizing:
    """The sizes for these settings in these limits."""
    per_worker = GREENLETS if settings.worker_class == "gevent" else settings.threads or 1
    processes = settings.nginx_worker_processes
    nginx_processes = limits.whole_cpus if processes == "auto" else int(processes)
    descriptors = min(settings.nginx_worker_open_files, limits.descriptors)
    files = min(OPEN_FILES, descriptors // 16)
    connections = min(
        settings.nginx_worker_connections or 2 * limits.backlog + IDLE_CONNECTIONS,
        descriptors - OWN_DESCRIPTORS - 2 * files,
    )
    idle = min(IDLE_CONNECTIONS, connections // 4)
    queue = QUEUE if settings.threads else max(QUEUE, int(QUEUE_OF_A_CPU * limits.cpus))
    return Sizing(
        requests_per_worker=per_worker,
        max_threads=_max_threads(settings, limits),
        nginx_workers=nginx_processes,
        nginx_descriptors=descriptors,
        nginx_connections=connections,
        idle_connections=idle,
        kept_connections=min(KEPT_CONNECTIONS, idle // 4),
        open_files=files,
        # Fewer than the backlog of the application's socket, where requests of clients that have
        # gone keep their place.
        admitted_requests=min(
            settings.web_concurrency * per_worker + queue,
            limits.backlog,
            nginx_processes * (connections - idle) // 2,
        ),
    )


def _max_threads(settings: Settings, limits: Limits) -> int:
    if settings.threads:
        return settings.threads
    if not limits.processes:
        return MAX_THREADS
    # Each worker has two threads more, and a reload doubles all.
    room = (limits.processes - OTHER_PROCESSES) // (2 * settings.web_concurrency) - 2
    return max(1, min(MAX_THREADS, room))


def _in_memory(count: int, limits: Limits) -> Found:
    memory = _found(worker_memory(limits) // WORKER_MEMORY, limits.memory_source)
    return _smallest(_found(count, limits.cpus_source), memory, max_workers(limits))


def _found(count: int, reason: str) -> Found:
    return Found(max(1, count), from_limits(reason))


def _smallest(*choices: Found) -> Found:
    smallest: Any = min(choices, key=lambda choice: choice.value)
    return Found(smallest.value, smallest.origin)
