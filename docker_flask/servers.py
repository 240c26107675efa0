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
UWSGI_PROGRAM = VENV / "bin/uwsgi"
# When the application takes all the CPU that there is, nginx and the supervisor come first: what
# can't be served is then told so at once, and does not wait unread in the kernel.
YIELDING = ["/usr/bin/nice", "-n", "10"]


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log; command: its command line, from the settings, the limits and, if there is one,
    a file with options of the user's; stop_signal: ends the whole server; retire_signal: sent to
    one worker, makes that take no more requests.
    """

    name: str
    command: Callable[[Settings, Limits, Path | None], list[str]]
    stop_signal: signal.Signals
    retire_signal: signal.Signals


def _uwsgi(settings: Settings, limits: Limits, options_file: Path | None) -> list[str]:
    # None may be called as one of uWSGI's own options.
    placeholders = {
        "worker-count": settings.web_concurrency,
        "fewest-workers": settings.uwsgi_cheaper,
        "thread-count": settings.threads,
        "load-in-workers": int(not settings.preload),
        "load-in-master": int(settings.preload),
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
    # Of an option that stands in both files, the last counts.
    users = ["--ini", str(options_file)] if options_file else []
    return [*YIELDING, str(UWSGI_PROGRAM), *options, "--ini", str(HOME / "app.ini"), *users]


UWSGI = AppServer("uWSGI", _uwsgi, stop_signal=signal.SIGINT, retire_signal=signal.SIGHUP)
