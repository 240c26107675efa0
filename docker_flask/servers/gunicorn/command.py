"""How Gunicorn starts."""

import json

from docker_flask.servers.launch import GREENLETS, Launch
from docker_flask.shared.paths import PYTHON


def command(launch: Launch) -> list[str]:
    """The command line of docker_flask/servers/gunicorn/program.py."""
    kind = launch.worker_class or ("gthread" if launch.threads > 1 else "sync")
    options = {
        "is_quiet": launch.is_quiet,
        "worker_class": kind,
        "workers": launch.workers,
        "threads": launch.threads,
        "worker_connections": GREENLETS if kind == "gevent" else launch.threads,
        "preload_app": launch.preload,
        "backlog": launch.queue,
        "graceful_timeout": launch.release,
    }
    # -P: modules in the application's folder must not replace the server's modules.
    program = [PYTHON, "-P", "-m", "docker_flask.servers.gunicorn.program"]
    return [*launch.nice, *program, json.dumps(options)]
