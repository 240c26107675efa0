"""The page /metrics of the status port, in Prometheus' text form.

By hand: process 1 has no packages, and the form is a few lines
(https://prometheus.io/docs/instrumenting/exposition_formats/). Every series is there from the
start.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from docker_flask.shared import process
from docker_flask.shared.log import version
from docker_flask.supervisor.app_metrics import PREFIX
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.service import Service
from docker_flask.supervisor.status import Status, queue_limit, slots, slots_maximum
from docker_flask.supervisor.traffic import BOUNDS, METHODS, OTHER, USUAL_STATUSES, Histogram
from docker_flask.supervisor.worker_counts import REASONS

Labels = Mapping[str, object]
Rows = Iterable[tuple[Labels, float]]


def page(service: Service, status: Status, reloads: Reloads) -> str:
    """All metrics of process 1."""
    lines = [
        *_of_requests(service),
        *_of_saturation(service, status),
        *_of_life(service, reloads),
        *_of_memory(service),
    ]
    return "\n".join(lines) + "\n"


def _of_requests(service: Service) -> Iterator[str]:
    counts = service.traffic.counts
    usual = {(method, status) for method in (*METHODS, OTHER) for status in USUAL_STATUSES}
    yield from _metric(
        "http_requests_total",
        "Requests that nginx has answered, by method and status.",
        (
            ({"method": method, "status": status}, counts.requests[method, status])
            for method, status in sorted(usual | counts.requests.keys())
        ),
    )
    yield from _histogram(
        "http_request_duration_seconds",
        "Time from the first byte of a request to the last byte of its response.",
        counts.whole,
    )
    yield from _histogram(
        "http_application_duration_seconds",
        "The part of that time in which the request waited for a worker, or was in it.",
        counts.application,
    )
    yield from _one("http_sent_bytes_total", "Bytes sent to clients.", counts.sent_bytes)
    yield from _one(
        "http_refused_total",
        "Requests that got 503 from nginx, for example because the queue was full.",
        counts.refused,
    )


def _of_saturation(service: Service, status: Status) -> Iterator[str]:
    current = service.current
    running, waiting = status.requests(current) if current else (0, 0)
    workers = current.plan.workers if current else None
    gauges = {
        "requests_running": ("Requests that run in workers.", running),
        "requests_waiting": ("Requests that wait for a worker.", waiting),
        "requests_at_once": (
            "Requests that the workers of now can run at once.",
            slots(current) if current else 0,
        ),
        "requests_at_once_maximum": (
            "Requests that all allowed workers can run at once.",
            slots_maximum(current) if current else 0,
        ),
        "queue_limit": (
            "Requests that may wait for a worker.",
            queue_limit(current) if current else 0,
        ),
        "saturated": (
            "1 while requests wait, because no worker is free.",
            bool(status.saturated_since),
        ),
        "workers": ("Workers that have loaded.", len(current.worker_pids()) if current else 0),
        "workers_maximum": ("Workers that are allowed.", workers.processes if workers else 0),
        "websockets": ("Open WebSockets.", current.web_sockets() if current else 0),
    }
    for name, (text, value) in gauges.items():
        yield from _one(name, text, value)


def _of_life(service: Service, reloads: Reloads) -> Iterator[str]:
    current, counts = service.current, service.worker_counts
    build = {"version": version(), "server": current.server.name if current else ""}
    yield from _metric("build_info", "The image.", [(build, 1)])
    ready = not service.why_not_ready()
    yield from _one("ready", "1 while requests should come to this container.", ready)
    yield from _one("generation", "Number of the generation.", current.number if current else 0)
    yield from _one(
        "generation_start_time_seconds",
        "When the generation began to serve, in seconds since 1970.",
        current.since if current else 0,
    )
    yield from _metric(
        "reloads_total",
        "Reloads by result.",
        [({"result": "ok"}, reloads.succeeded), ({"result": "failed"}, reloads.failed)],
    )
    yield from _one("worker_starts_total", "Workers that have loaded.", counts.started)
    yield from _metric(
        "worker_ends_total",
        "Workers that have ended, by reason.",
        (({"reason": reason}, counts.ended[reason]) for reason in REASONS),
    )
    certificate = service.certificates.current
    yield from _one(
        "certificate_end_time_seconds",
        "When the certificate ends, in seconds since 1970; 0 without HTTPS.",
        certificate.ends if certificate else 0,
    )


def _of_memory(service: Service) -> Iterator[str]:
    memory, pids = service.memory, [p for each in service.generations() for p in each.worker_pids()]
    kinds = {
        "supervisor": process.resident(1),
        "nginx": sum(map(process.resident, [service.nginx.pid, *service.nginx.workers()])),
        "workers": sum(map(process.resident, pids)),
    }
    yield from _metric(
        "resident_memory_bytes",
        "Resident memory by kind of process; shared pages count in each process.",
        (({"kind": kind}, size) for kind, size in kinds.items()),
    )
    sizes = [process.resident(pid) for pid in pids]
    yield from _one("largest_worker_bytes", "Memory of the largest worker.", max(sizes, default=0))
    used = memory.limit - memory.free()
    yield from _one("memory_used_bytes", "Memory of the container, without cache.", used)
    yield from _one("memory_limit_bytes", "The limit of the container.", memory.limit)
    yield from _one(
        "memory_kills_total",
        "Processes that the kernel has killed because memory ran out.",
        memory.kills,
    )


def _one(name: str, text: str, value: float) -> Iterator[str]:
    yield from _metric(name, text, [({}, value)])


def _metric(name: str, text: str, rows: Rows, kind: str = "") -> Iterator[str]:
    kind = kind or ("counter" if name.endswith("_total") else "gauge")
    yield f"# HELP {PREFIX}{name} {text}"
    yield f"# TYPE {PREFIX}{name} {kind}"
    for labels, value in rows:
        yield _row(name, labels, value)


def _histogram(name: str, text: str, times: Histogram) -> Iterator[str]:
    yield from _metric(name, text, (), "histogram")
    seen = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), times.counts, strict=True):
        seen += count
        yield _row(f"{name}_bucket", {"le": bound}, seen)
    yield _row(f"{name}_sum", {}, times.total)
    yield _row(f"{name}_count", {}, seen)


def _row(name: str, labels: Labels, value: Any) -> str:
    pairs = ",".join(f'{key}="{text}"' for key, text in labels.items())  # known words
    number = int(value) if value == int(value) else round(float(value), 6)
    return f"{PREFIX}{name}{{{pairs}}} {number}" if pairs else f"{PREFIX}{name} {number}"
