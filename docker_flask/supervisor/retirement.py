"""Stops an old generation after its last response, or when a request takes too long.

Its WebSockets stay for WEBSOCKET_RELOAD_TIMEOUT.
"""

from __future__ import annotations

import time

from docker_flask.first_process.task import Steps, Until
from docker_flask.log import log
from docker_flask.nginx.nginx import Nginx
from docker_flask.supervisor.generation import STOP_TIMEOUT, Generation

# Seconds between two checks, and how many checks in a row must find no request: nginx may have a
# connection that the application has not accepted yet.
RETIRE_INTERVAL, IDLE_CHECKS = 0.1, 2
# Seconds in which WebSockets close: more than worker/web_sockets.py takes.
CLOSE_TIMEOUT = 5.0


def retire(old: Generation, nginx: Nginx) -> Steps[None]:
    """Stop a generation to which nginx sends no new requests."""
    old.retire()
    begun = time.monotonic()
    deadline = begun + old.plan.timeouts.release
    close_at = begun + old.plan.settings.websocket_reload_timeout
    idle_checks = 0
    while idle_checks < IDLE_CHECKS:
        yield Until(lambda: False, RETIRE_INTERVAL)
        now, requests, web_sockets = time.monotonic(), old.requests(), old.web_sockets()
        if now > close_at:
            old.close_web_sockets()
            if now > close_at + CLOSE_TIMEOUT:
                web_sockets = 0
        idle_checks = 0 if requests or web_sockets else idle_checks + 1
        if requests and now > deadline:
            log(
                f"cutting {requests} requests that the old generation did not answer within "
                f"{old.plan.timeouts.release} seconds"
            )
            break
    yield from old.stop(STOP_TIMEOUT)
    nginx.forget_pages()  # including the last pages of the old generation
