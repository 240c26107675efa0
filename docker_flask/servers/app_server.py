"""The application servers, as the supervisor knows them.

A server inherits a listening socket as descriptor 3. Its workers report when they are ready
(docker_flask/notify.py), and INT stops it.
"""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docker_flask.configuration.limits import Limits
from docker_flask.configuration.plan import Plan
from docker_flask.configuration.sizing import GREENLETS
from docker_flask.paths import HOME, PYTHON, UWSGI_PROGRAM

SOCKET_FD = 3
# With fewer than two CPUs, nginx and the supervisor have priority over the workers. Under overload,
# nginx then rejects a request immediately, and the request does not wait unread in the kernel. With
# more CPUs, the priority would only interrupt a worker at each response: a quarter fewer requests.
NICE, CPUS_WITHOUT_NICE = ["/usr/bin/nice", "-n", "10"], 2


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log. command: returns the command line for a plan, the file with the user's options
    for this server (or None), a number of workers and of the threads of each. retire_signal: after
    it, a worker accepts no more requests.
    """

    name: str
    command: Callable[[Plan, Path | None, int, int], list[str]]
    retire_signal: signal.Signals


def _nice(limits: Limits) -> list[str]:
    """The start of a server's command line, empty if there are enough CPUs."""
    return NICE if limits.cpus < CPUS_WITHOUT_NICE else []


def _uwsgi(plan: Plan, options_file: Path | None, workers: int, threads: int) -> list[str]:
    """uWSGI: app.ini with values from the plan, then the user's options."""
    settings = plan.settings
    # uWSGI's own options must not have these names.
    placeholders = {
        "worker-count": workers,
        "thread-count": threads,
        "load-in-workers": int(not settings.preload),
        "load-in-master": int(settings.preload),
        "socket-fd": SOCKET_FD,
        "socket-backlog": plan.sizing.queue,
        "io-seconds": plan.release,
        "open-files": plan.limits.descriptors,
    }
    arguments = [*_nice(plan.limits), UWSGI_PROGRAM]
    for name, value in placeholders.items():
        arguments += ["--set-placeholder", f"{name}={value}"]
    if settings.worker_class == "gevent":
        arguments += ["--gevent", str(GREENLETS), "--gevent-monkey-patch"]
    arguments += ["--ini", f"{HOME}/app.ini"]
    # The user's file comes last: if an option is in both files, uWSGI uses the last value.
    return [*arguments, "--ini", str(options_file)] if options_file else arguments


def _gunicorn(plan: Plan, _options_file: Path | None, workers: int, threads: int) -> list[str]:
    """Gunicorn, which docker_flask/launch/gunicorn_server.py starts."""
    settings = plan.settings
    kind = settings.worker_class or ("gthread" if threads > 1 else "sync")
    options = {
        "is_quiet": settings.log_level != "debug",
        "worker_class": kind,
        "workers": workers,
        "threads": threads,
        "worker_connections": GREENLETS if kind == "gevent" else threads,
        "preload_app": settings.preload,
        "backlog": plan.sizing.queue,
        "graceful_timeout": plan.release,
    }
    # -P: modules in the application's folder must not replace the server's modules.
    program = [PYTHON, "-P", "-m", "docker_flask.launch.gunicorn_server"]
    return [*_nice(plan.limits), *program, json.dumps(options)]


# For each value of APP_SERVER.
SERVERS = {
    "uwsgi": AppServer("uWSGI", _uwsgi, signal.SIGHUP),
    "gunicorn": AppServer("Gunicorn", _gunicorn, signal.SIGTERM),
}
