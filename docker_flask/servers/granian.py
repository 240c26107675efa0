"""Granian; docker_flask/worker/granian_server.py starts it."""

from __future__ import annotations

import signal
from pathlib import Path

from docker_flask.configuration.plan import Plan
from docker_flask.servers.app_server import AppServer, python_command


def command(plan: Plan, _options_file: Path | None, _orders: Path) -> list[str]:
    """Granian's command line; Granian has no configuration file."""
    threads = plan.settings.threads or 1
    return python_command(
        "granian_server",
        plan.limits,
        workers=plan.settings.web_concurrency,
        blocking_threads=threads,
        backpressure=threads,
        backlog=plan.sizing.queue,
        log_level="info" if plan.settings.is_verbose else "warning",
    )


GRANIAN = AppServer("Granian", command, signal.SIGINT, signal.SIGTERM, retires_early=True)
