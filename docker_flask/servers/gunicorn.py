"""Gunicorn; docker_flask/launch/gunicorn_server.py starts it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from docker_flask.configuration.plan import Plan
from docker_flask.paths import PYTHON
from docker_flask.servers.app_server import AppServer, nice


def command(plan: Plan, _options_file: Path | None, _orders: Path) -> list[str]:
    """Gunicorn's command line."""
    settings = plan.settings
    options = {
        "loglevel": "info" if settings.is_verbose else "warning",
        "worker_class": settings.worker_class or ("gthread" if settings.threads > 1 else "sync"),
        "workers": settings.web_concurrency,
        "threads": settings.threads,
        "worker_connections": plan.sizing.requests_per_worker,
        "preload_app": settings.preload,
        "backlog": plan.sizing.queue,
        "graceful_timeout": plan.timeouts.release,
    }
    # -P: modules in the application's folder must not replace the server's modules.
    program = [PYTHON, "-P", "-m", "docker_flask.launch.gunicorn_server"]
    return [*nice(plan.limits), *program, json.dumps(options)]


GUNICORN = AppServer("Gunicorn", command, signal.SIGTERM)
