"""Sizes that follow from the settings: numbers of requests, threads and connections.

benchmarks/reports/sizing.md has the measurements for these numbers.
"""

from dataclasses import dataclass

from docker_flask.plan.limits import Limits
from docker_flask.plan.settings import Settings
from docker_flask.plan.validators import in_bytes
from docker_flask.plan.workers import Workers
from docker_flask.servers.launch import GREENLETS

# Requests that may wait for a worker: enough for a thousand clients at the same moment. Under
# overload, a longer queue costs good responses: on half a CPU, a queue of 4,096 cost a third of
# them.
QUEUE = 1024
# Connections of each nginx worker beyond those of requests that wait for the application.
IDLE_CONNECTIONS = 10_240
# So many of them, in twentieths, are for requests whose body nginx has not read, and as many for
# responses that clients have not read: slow clients take no place of a request that waits. At most
# SLOW of each.
SLOW_TWENTIETHS, SLOW = 9, 4608
# Memory (bytes) of a body in nginx (client_body_buffer_size). All together may take the container's
# memory divided by BODY_SHARE.
BODY_MEMORY, BODY_SHARE = 16 << 10, 4
# Bodies from one public address: an office or a telephone network behind one address has some tens
# of uploads at a time.
BODIES_BY_ADDRESS = 256
# Large bodies may take the free disk divided by this; at least MIN_LARGE_BODIES are allowed.
# LARGEST_BODY: bytes, for MAX_UPLOAD=0. nginx accepts no number above MAX_LIMIT_CONN.
BODIES_DISK_SHARE, MIN_LARGE_BODIES, LARGEST_BODY, MAX_LIMIT_CONN = 2, 16, 1 << 30, 65_535
# The minimum and maximum bytes of a response that wait in a file for their client. As many of these
# files as RESPONSE_FILES fit on the disk.
MIN_RESPONSE_FILE, MAX_RESPONSE_FILE, RESPONSE_FILES = 128 << 10, 256 << 20, 64
# The maximum of WebSockets; the bytes and the threads of each; the divisor: all WebSockets together
# may take the memory, a worker's descriptors and the container's processes, divided by this; those
# from one public address may take the number of all, divided by this.
MAX_WEB_SOCKETS = 4096
WEB_SOCKET_MEMORY, THREADS_OF_WEB_SOCKET, WEB_SOCKET_SHARE = 160 << 10, 2, 4
# Cached pages that nginx keeps open, and as many static files; fewer if the limit is low.
OPEN_FILES = 256
# Descriptors that nginx needs for itself: sockets, log, event queue.
OWN_DESCRIPTORS = 24


@dataclass(frozen=True)
class Sizing:
    """Sizes that follow from the settings and the limits of the container.

    nginx_workers: nginx's worker
    processes. For each of them: nginx_descriptors: open files; nginx_connections: all connections;
    open_files: cached pages that stay open, and the same number of static files.
    queue: requests that wait in the application's socket; admitted_requests: requests without a
    body that run, wait, or have responses that their clients have not read; admitted_bodies:
    requests with a body; bodies_by_address: those from one address. Further requests get 503.
    web_sockets: open WebSockets; web_sockets_by_address: those from one address.
    """

    nginx_workers: int
    nginx_descriptors: int
    nginx_connections: int
    open_files: int
    queue: int
    admitted_requests: int
    admitted_bodies: int
    bodies_by_address: int
    web_sockets: int
    web_sockets_by_address: int


def compute(settings: Settings, workers: Workers, limits: Limits) -> Sizing:
    """The sizes for these settings and workers in these limits."""
    has_greenlets = settings.worker_class == "gevent"
    processes = settings.nginx_worker_processes
    nginx_processes = limits.whole_cpus if processes == "auto" else int(processes)
    descriptors = min(settings.nginx_worker_open_files, limits.descriptors)
    files = min(OPEN_FILES, descriptors // 16)
    most = descriptors - OWN_DESCRIPTORS - 2 * files
    connections = min(
        settings.nginx_worker_connections or 2 * limits.backlog + IDLE_CONNECTIONS, most
    )
    # WebSockets have connections of their own, or half of those of idle clients.
    spare = 0 if settings.nginx_worker_connections else most - connections
    web_sockets = min(_web_sockets(settings, limits), spare // 2 + connections // 16)
    idle = min(IDLE_CONNECTIONS, connections // 4)
    waiting = min(
        workers.requests * (GREENLETS if has_greenlets else 1) + QUEUE,
        limits.backlog,
        nginx_processes * (connections - idle) // 2,
    )
    slow = min(SLOW, (nginx_processes * connections - 2 * waiting) * SLOW_TWENTIETHS // 20)
    bodies = max(16, min(slow, limits.memory // BODY_SHARE // BODY_MEMORY))
    return Sizing(
        nginx_workers=nginx_processes,
        nginx_descriptors=descriptors,
        nginx_connections=connections + min(spare, 2 * web_sockets),
        open_files=files,
        # The kernel accepts one more. Greenlets take requests out of the socket only while they
        # have the CPU, so all requests must fit into it.
        queue=max(1, (waiting if has_greenlets else min(QUEUE, waiting)) - 1),
        admitted_requests=waiting + slow,
        admitted_bodies=bodies,
        bodies_by_address=max(16, min(BODIES_BY_ADDRESS, bodies // 4)),
        web_sockets=web_sockets,
        web_sockets_by_address=max(1, web_sockets // WEB_SOCKET_SHARE),
    )


def large_bodies(settings: Settings, disk: int) -> int:
    """Requests with a large body that nginx takes at a time; disk: free bytes."""
    largest = in_bytes(settings.max_upload) or LARGEST_BODY
    return min(max(MIN_LARGE_BODIES, disk // BODIES_DISK_SHARE // largest), MAX_LIMIT_CONN)


def response_file(disk: int) -> int:
    """Bytes of a response that may wait for their client in a file; disk: free bytes.

    0 means no files: nginx refuses a maximum that is smaller than its buffers.
    """
    size = min(MAX_RESPONSE_FILE, disk // RESPONSE_FILES)
    return size if size >= MIN_RESPONSE_FILE else 0


def _web_sockets(settings: Settings, limits: Limits) -> int:
    if settings.websockets is not None:
        return settings.websockets
    choices = [MAX_WEB_SOCKETS, limits.memory // WEB_SOCKET_SHARE // WEB_SOCKET_MEMORY]
    choices.append(limits.descriptors // WEB_SOCKET_SHARE)  # of a worker that has them all
    if limits.processes:
        choices.append(limits.processes // WEB_SOCKET_SHARE // THREADS_OF_WEB_SOCKET)
    return min(choices)
