"""The loop that serves: what process 1 does between the start and the stop."""

import time
from functools import partial
from typing import NoReturn

from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.restarts import Failure
from docker_flask.supervisor.retire import RETIRE_INTERVAL
from docker_flask.supervisor.service import Service
from docker_flask.supervisor.status import Status
from docker_flask.supervisor.task import TICK
from docker_flask.supervisor.wide_server import INTERVAL


def serve(service: Service, reloads: Reloads, status: Status) -> NoReturn:
    """Serve until a signal's callback raises Stop; raises Failure if the container can't go on.

    `guard`: an exception is logged once with its traceback, and the loop continues.
    """
    loop, looked_at = service.loop, 0.0
    while True:
        # Signals, processes that ended, commands, probes, messages of workers.
        loop.turn(_pause(service, reloads, status))

        # Who asked for the status waits for workers, or for a child process.
        loop.guard(status.advance)
        loop.guard(service.app_metrics.advance)

        # A reload, which waits for nothing: it goes on when its next condition is true.
        loop.guard(reloads.advance)
        # During a reload, continue: the new generation may replace the one that failed.
        if not reloads.task and service.current and service.current.has_failed():
            raise Failure(service.current.why_not_ready())

        # Old generations that finish their requests, and processes that start again after a pause.
        for generation in list(service.retiring):
            loop.guard(partial(service.advance_retirement, generation))
        loop.guard(service.restarts.advance)

        # What has no event: memory that ran out, nginx's workers, requests that wait.
        now = time.monotonic()
        if now - looked_at >= INTERVAL - 0.05:
            looked_at = now
            loop.guard(service.look)
            loop.guard(status.look)
        loop.guard(service.show_readiness)


def _pause(service: Service, reloads: Reloads, status: Status) -> float:
    """Seconds until the next check, if no event comes first."""
    if reloads.task or status.answers or service.app_metrics.answers:
        return TICK
    return RETIRE_INTERVAL if service.retiring or not service.is_shown_ready else INTERVAL
