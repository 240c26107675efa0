"""The options that a supervisor gives to a worker, in one environment variable.

The supervisor writes the variable, and the worker reads and removes it, both with this module. The
settings in the environment stay as the user wrote them, for the application.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

VARIABLE = "DOCKER_FLASK_WORKER"
NO_DESCRIPTOR = -1


@dataclass(frozen=True)
class WorkerOptions:
    """For a worker in production. The defaults mean: no limit, no nginx, no supervisor."""

    # The descriptor for messages to the supervisor (docker_flask/shared/notify.py).
    notify_fd: int = NO_DESCRIPTOR
    start_timeout: float = 120.0
    # The setting TRUSTED_PROXIES: networks in the format of ipaddress.
    trusted_proxies: Sequence[str] = ()
    # --- The application, and how to load it.
    app_module: str = ""
    uwsgi_ini: str = ""
    # True if the server loads the application once, before it forks the workers.
    preload: bool = False
    # A file that workers lock, so that the first one loads alone.
    load_lock: str = ""
    # True if the other workers load one at a time, too.
    load_one_by_one: bool = False

    # --- What each worker has for itself (worker/server/per_worker.py).
    # The number of workers, and a random word of their generation.
    workers: int = 1
    salt: str = ""

    # --- Limits: seconds, requests, bytes.
    request_timeout: float = 60.0
    # Seconds until the watchdog acts: later than nginx responds (plan/plan.py).
    watchdog: float = 60.7
    # The folder of the application's metrics; empty for none.
    metrics_folder: str = ""
    # SLOW_REQUEST, 0 for off; and the file whose time process 1 changes to ask what runs.
    slow_request: float = 0.0
    status_order: str = ""
    max_requests: int = 0
    max_worker_memory: int = 0
    # The signal after which a worker accepts no more requests.
    retire_signal: int = 0

    # --- WebSockets: how many at most (0 for none), and bytes of a message.
    max_web_sockets: int = 0
    max_message: int = 0
    # A pipe whose end tells clients to leave.
    leave_fd: int = NO_DESCRIPTOR

    # A pipe whose end tells a worker of the wide server to take no more requests.
    drain_fd: int = NO_DESCRIPTOR

    # --- The interface between nginx and the worker.
    # nginx's location for send_file; empty if the worker sends files itself.
    sendfile_location: str = ""

    # --- The user's settings for static files; None if not set.
    static_url: str | None = None
    static_path: str | None = None
    static_max_age: int | None = None

    def to_environment(self) -> dict[str, str]:
        """The variable with all options."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> "WorkerOptions":
        """Read the options and remove the variable; returns the defaults if it is not set."""
        return cls(**json.loads(os.environ.pop(VARIABLE, "{}")))
