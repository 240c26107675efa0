"""Gunicorn; docker_flask/launch/gunicorn_server.py starts it."""

from __future__ import annotations

import signal
from pathlib import Path

from docker_flask.configuration.plan import Plan
from docker_flask.configuration.sizing import GREENLETS
from docker_flask.servers.app_server import AppServer, python_command


def command(plan: Plan, _options_file: Path | None, _orders: Path) -> list[str]:
    """Gunicorn's command line."""
    settings = plan.settings
    threads = settings.threads
    return python_command(
        "gunicorn_server",
        plan.limits,
        loglevel="info" if settings.is_verbose else "warning",
        worker_class=settings.worker_class or ("gthread" if threads > 1 else "sync"),
        workers=settings.web_concurrency,
        threads=threads,
        worker_connections=GREENLETS if settings.worker_class == "gevent" else threads,
        preload_app=settings.preload,
        backlog=plan.sizing.queue,
        graceful_timeout=plan.timeouts.whole_release,
    )


GUNICORN = AppServer("Gunicorn", command, signal.SIGINT, signal.SIGTERM)
