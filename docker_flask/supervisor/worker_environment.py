"""The environment of an application server, with the options of its workers."""

from pathlib import Path
from typing import Any

from docker_flask.plan.plan import Plan
from docker_flask.plan.validators import in_bytes
from docker_flask.shared import paths
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.supervisor.server_process import DRAIN_FD, LEAVE_FD, NOTIFY_FD


def make(plan: Plan, runtime: Path, threads: int, **of_generation: Any) -> dict[str, str]:
    """The variables of a start; threads: of a worker; of_generation: options that the plan does not
    decide."""
    settings = plan.settings
    options = WorkerOptions(
        **of_generation,
        notify_fd=NOTIFY_FD,
        leave_fd=LEAVE_FD,
        drain_fd=DRAIN_FD,
        start_timeout=settings.start_timeout,
        trusted_proxies=settings.trusted_proxies or (),
        app_module=settings.app_module or "",
        uwsgi_ini=settings.uwsgi_ini or "",
        preload=settings.preload,
        workers=plan.workers.processes,
        request_timeout=settings.request_timeout,
        watchdog=plan.watchdog,
        slow_request=settings.slow_request,
        metrics_folder=str(runtime / paths.METRICS),
        status_order=str(runtime / paths.STATUS_ORDER),
        max_requests=settings.max_requests,
        max_worker_memory=in_bytes(settings.max_worker_memory),
        max_web_sockets=plan.sizing.web_sockets,
        max_message=in_bytes(settings.websocket_max_message),
        static_url=settings.static_url,
        static_path=settings.static_path,
        static_max_age=settings.static_max_age,
    )
    environment = {**_of_application(plan), **options.to_environment()}
    if threads > 1:
        # Each arena of malloc keeps memory that others could use (benchmarks/TRIED.md).
        environment.setdefault("MALLOC_ARENA_MAX", "2")
    return environment


def _of_application(plan: Plan) -> dict[str, str]:
    # Without UWSGI_* variables: uWSGI reads each one as an option, and exits if it does not know
    # the option. Kubernetes sets such variables for a service with the name uwsgi. Gunicorn fails
    # if WEB_CONCURRENCY is set but empty.
    environment = {
        name: value
        for name, value in plan.environment.items()
        if not name.startswith("UWSGI_") and (value.strip() or name != "WEB_CONCURRENCY")
    }
    # Production has no debug mode, even if the container or a .flaskenv sets FLASK_DEBUG=1.
    environment["FLASK_DEBUG"] = "0"
    return environment
