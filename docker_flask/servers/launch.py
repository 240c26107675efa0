"""What an application server needs to know for one start."""

from dataclasses import dataclass
from pathlib import Path

# A server inherits a listening socket as this descriptor.
SOCKET_FD = 3
# Requests that a worker of class gevent runs at a time; Gunicorn's default.
GREENLETS = 1000
# With fewer than two CPUs, nginx and the supervisor have priority over the workers. Under overload,
# nginx then rejects a request immediately, and the request does not wait unread in the kernel. With
# more CPUs, the priority would only interrupt a worker at each response: a quarter fewer requests.
NICE, CPUS_WITHOUT_NICE = ("/usr/bin/nice", "-n", "10"), 2


@dataclass(frozen=True)
class Launch:
    """workers, threads: how many workers, and threads of each. options_file: of the user, or None.

    worker_class, preload: the settings. queue: connections that may wait in the socket. release:
    seconds without progress on a connection. descriptors: open files of a process. cpus: of the
    container. is_quiet: hide what the server says about itself.
    """

    workers: int
    threads: int
    options_file: Path | None
    worker_class: str | None
    preload: bool
    queue: int
    release: int
    descriptors: int
    cpus: float
    is_quiet: bool

    @property
    def nice(self) -> tuple[str, ...]:
        """The start of the command line, empty if there are enough CPUs."""
        return NICE if self.cpus < CPUS_WITHOUT_NICE else ()
