"""What the supervisor must know of an application server, and nothing more.

A server inherits a listening socket as descriptor 3. It is ready when its workers say so
(docker_flask/notify.py), and a signal ends it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_flask.configuration.limits import Limits
from docker_flask.configuration.plan import Plan
from docker_flask.paths import PYTHON

SOCKET_FD = 3
# nginx and the supervisor come before the workers where they have no CPU to themselves: a request
# that can't be answered is then refused at once, and does not wait unread in the kernel. With more
# CPUs this would only interrupt a worker at each answer, which costs a quarter of the requests.
NICE, CPUS_WITHOUT_NICE = ["/usr/bin/nice", "-n", "10"], 2


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log. command: its command line, from a plan, a file with the user's options for
    this server if there are any, and the path of the FIFO for orders. stop_signal: ends the whole
    server. retire_signal: makes one worker take no more requests. resizes: takes orders from the
    FIFO: a plus for each worker more, a minus for each worker less.
    """

    name: str
    command: Callable[[Plan, Path | None, Path], list[str]]
    stop_signal: signal.Signals
    retire_signal: signal.Signals
    resizes: bool = False


def nice(limits: Limits) -> list[str]:
    """What goes before a server's command line where CPUs are short."""
    return NICE if limits.cpus < CPUS_WITHOUT_NICE else []


def python_command(module: str, limits: Limits, **options: Any) -> list[str]:
    """The command line of a server that a module of `docker_flask.worker` starts.

    options: for the module, as JSON. -P: the application's folder must not hide the server's
    modules.
    """
    words = [PYTHON, "-P", "-m", f"docker_flask.worker.{module}", json.dumps(options)]
    return [*nice(limits), *words]
