"""The application servers: what the supervisor must know of each, and nothing more.

A server is started on a listening socket that it inherits as descriptor 3, is ready when its
workers say so through docker_flask.notify, and is ended with a signal.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docker_flask.limits import Limits
from docker_flask.settings import Settings

SOCKET_FD = 3
VENV = Path("/opt/venv")
HOME = Path("/opt/docker-flask")


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log; command: its command line; stop_signal: ends the whole server;
    retire_signal: sent to one worker, makes that take no more requests.
    """

    name: str
    command: Callable[[Settings, Limits], list[str]]
    stop_signal: signal.Signals
    retire_signal: signal.Signals


def _uwsgi(settings: Settings, limits: Limits) -> list[str]:
    # None may be called as one of uWSGI's own options.
    placeholders = {
        "worker-count": settings.web_concurrency,
        "thread-count": settings.threads,
        "socket-fd": SOCKET_FD,
        "socket-backlog": limits.backlog,
        "io-seconds": int(settings.request_timeout) + 5,
        "open-files": limits.descriptors,
    }
    options = [
        word
        for key, value in placeholders.items()
        for word in ("--set-placeholder", f"{key}={value}")
    ]
    return [str(VENV / "bin/uwsgi"), *options, "--ini", str(HOME / "app.ini")]


UWSGI = AppServer("uWSGI", _uwsgi, stop_signal=signal.SIGTERM, retire_signal=signal.SIGHUP)
