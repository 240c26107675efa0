"""The application servers, as the supervisor knows them.

A server inherits a listening socket. Its workers report when they are ready
(docker_flask/shared/notify.py), and INT stops it.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from docker_flask.servers.gunicorn import command as gunicorn
from docker_flask.servers.launch import Launch
from docker_flask.servers.uwsgi import command as uwsgi


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log. command: returns the command line. retire_signal: after it, a worker accepts
    no more requests.
    """

    name: str
    command: Callable[[Launch], list[str]]
    retire_signal: signal.Signals


# For each value of APP_SERVER.
SERVERS = {
    "uwsgi": AppServer("uWSGI", uwsgi.command, signal.SIGHUP),
    "gunicorn": AppServer("Gunicorn", gunicorn.command, signal.SIGTERM),
}
