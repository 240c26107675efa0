"""All rules for sizes: numbers of workers, threads, connections and open files.

docs/sizing.md has the measurements for these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker_flask.configuration.kinds import SettingError
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.origin import Found, from_limits

if TYPE_CHECKING:
    from docker_flask.configuration.settings import Settings

# Memory (bytes) of a worker with a Flask application, rounded up; used until a worker is measured.
WORKER_MEMORY = 64 << 20
# Workers for each CPU. FIXED: for a fixed number of workers. MAX: for uWSGI with a fixed number of
# threads, where the worker pool adds workers while requests wait and a CPU is free.
# MAX_WITH_THREADS: for uWSGI workers that add threads before the worker pool adds workers.
FIXED, MAX, MAX_WITH_THREADS = 2, 16, 4
# Maximum threads of a uWSGI worker if THREADS is not set. Few workers with many threads are better
# than many workers, because each worker has its own pool of database connections: SQLAlchemy's pool
# has 15, and PostgreSQL accepts 100. A thread that is not started costs 2 KB.
MAX_THREADS = 128
# Requests that a worker of class gevent runs at a time; Gunicorn's default.
GREENLETS = 1000
# Processes other than workers: nginx, the servers' first processes, the supervisor, a command.
OTHER_PROCESSES = 10
# Requests that may wait for a worker: enough for a thousand clients at the same moment. Under
# overload, a longer queue costs good responses: on half a CPU, a queue of 4,096 cost a third of
# them. For workers that skip requests of clients that have gone (threads_plugin.c), the queue may
# hold the small requests that the CPUs handle in half a second.
QUEUE, QUEUE_PER_CPU = 1024, 2048
# Connections of each nginx worker without a request, or with a request that is not read yet.
IDLE_CONNECTIONS = 4096
# Cached pages that nginx keeps open, and as many static files; fewer if the limit is low.
OPEN_FILES = 256
# Idle connections to the application that each nginx worker keeps.
KEPT_CONNECTIONS = 64
# Descriptors that nginx needs for itself: sockets, log, event queue.
OWN_DESCRIPTORS = 24


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


@dataclass(frozen=True)
class Sizing:
    """Sizes that follow from the settings and the limits of the container.

    requests_per_worker: requests that a worker runs at a time. max_threads: of a worker.
    nginx_workers: nginx's worker processes. For each of them: nginx_descriptors: open files;
    nginx_connections: all connections; idle_connections: clients' connections without a request;
    kept_connections: idle connections to the application; open_files: cached pages that stay open,
    and the same number of static files.
    admitted_requests: requests that run or wait; further requests get 503.
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
    queue = QUEUE if settings.threads else max(QUEUE, int(QUEUE_PER_CPU * limits.cpus))
    return Sizing(
        requests_per_worker=per_worker,
        max_threads=_max_threads(settings, limits),
        nginx_workers=nginx_processes,
        nginx_descriptors=descriptors,
        nginx_connections=connections,
        idle_connections=idle,
        kept_connections=min(KEPT_CONNECTIONS, idle // 4),
        open_files=files,
        # At most the backlog of the application's socket: requests of clients that have gone stay
        # in the backlog.
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
    # Each worker has two more threads, and a reload doubles all workers.
    room = (limits.processes - OTHER_PROCESSES) // (2 * settings.web_concurrency) - 2
    return max(1, min(MAX_THREADS, room))


def _in_memory(count: int, limits: Limits) -> Found:
    memory = _found(worker_memory(limits) // WORKER_MEMORY, limits.memory_reason)
    return _smallest(_found(count, limits.cpus_reason), memory, max_workers(limits))


def _found(count: int, reason: str) -> Found:
    return Found(max(1, count), from_limits(reason))


def _smallest(*choices: Found) -> Found:
    smallest: Any = min(choices, key=lambda choice: choice.value)
    return Found(smallest.value, smallest.origin)
