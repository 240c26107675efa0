"""uWSGI: app.ini with values from the plan, then the user's options."""

from __future__ import annotations

import signal
from pathlib import Path

from docker_flask.configuration.plan import Plan
from docker_flask.paths import HOME, UWSGI_PROGRAM
from docker_flask.servers.app_server import SOCKET_FD, AppServer, nice


def command(plan: Plan, options_file: Path | None, orders: Path) -> list[str]:
    """uWSGI's command line."""
    settings = plan.settings
    # uWSGI's own options must not have these names.
    placeholders = {
        "worker-count": settings.web_concurrency,
        "min-workers": settings.uwsgi_cheaper,
        "thread-count": settings.threads,
        "load-in-workers": int(not settings.preload),
        "load-in-master": int(settings.preload),
        "socket-fd": SOCKET_FD,
        "socket-backlog": plan.sizing.queue,
        "io-seconds": plan.timeouts.release,
        "open-files": plan.limits.descriptors,
        "orders-fifo": orders,
    }
    arguments = [*nice(plan.limits), UWSGI_PROGRAM]
    for name, value in placeholders.items():
        arguments += ["--set-placeholder", f"{name}={value}"]
    if settings.worker_class == "gevent":
        arguments += ["--gevent", str(plan.sizing.requests_per_worker), "--gevent-monkey-patch"]
    if settings.threads > 1:
        # The master removes a worker by signal 28 (WINCH), which by default wakes one thread only.
        arguments += ["--hook-accepting", "unix_signal:28 gracefully_kill"]
    arguments += ["--ini", f"{HOME}/app.ini"]
    # The user's file comes last: if an option is in both files, uWSGI uses the last value.
    return [*arguments, "--ini", str(options_file)] if options_file else arguments


UWSGI = AppServer("uWSGI", command, signal.SIGHUP, resizes=True)
