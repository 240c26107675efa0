"""The interface between the supervisor and an application server.

A server inherits a listening socket as descriptor 3. Its workers report when they are ready
(docker_flask/notify.py), and INT stops it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docker_flask.configuration.limits import Limits
from docker_flask.configuration.plan import Plan

SOCKET_FD = 3
# With fewer than two CPUs, nginx and the supervisor have priority over the workers. Under overload,
# nginx then rejects a request immediately, and the request does not wait unread in the kernel. With
# more CPUs, the priority would only interrupt a worker at each response: a quarter fewer requests.
NICE, CPUS_WITHOUT_NICE = ["/usr/bin/nice", "-n", "10"], 2


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log. command: returns the command line for a plan, the file with the user's options
    for this server (or None) and the path of the FIFO for orders. retire_signal: after it, a worker
    accepts no more requests. resizes: True if the server reads orders from the FIFO: a plus to add
    a worker, a minus to remove a worker.
    """

    name: str
    command: Callable[[Plan, Path | None, Path], list[str]]
    retire_signal: signal.Signals
    resizes: bool = False


def nice(limits: Limits) -> list[str]:
    """The start of a server's command line, empty if there are enough CPUs."""
    return NICE if limits.cpus < CPUS_WITHOUT_NICE else []
