"""The end of an old generation: after its last response, or when that takes too long."""

import time

from docker_flask.shared.log import log
from docker_flask.supervisor.generation import STOP_TIMEOUT, Generation, State
from docker_flask.supervisor.task import Steps, Until

# Seconds between two checks, and how many checks in a row must find no request: nginx may have a
# connection that the application has not accepted yet.
RETIRE_INTERVAL, IDLE_CHECKS = 0.1, 2
# Seconds in which WebSockets close: more than worker/server/web_sockets.py takes.
CLOSE_TIMEOUT = 5.0


def retire(generation: Generation) -> Steps[None]:
    """Stop after the last response and thread, or when one takes too long.

    nginx sends no new requests. WebSockets stay for WEBSOCKET_RELOAD_TIMEOUT.
    """
    generation.become(State.RETIRING)
    plan, begun = generation.plan, time.monotonic()
    deadline = begun + plan.release
    close_at = begun + plan.settings.websocket_reload_timeout
    idle_checks = 0
    while idle_checks < IDLE_CHECKS:
        yield Until(lambda: False, RETIRE_INTERVAL)
        now, requests = time.monotonic(), generation.requests()
        web_sockets = generation.web_sockets()
        if now > close_at:
            generation.close_web_sockets()
            if now > close_at + CLOSE_TIMEOUT:
                web_sockets = 0
        threads = 0 if web_sockets else generation.threads()
        idle_checks = 0 if requests or web_sockets or threads else idle_checks + 1
        if requests and now > deadline:
            log(
                f"cutting {requests} requests that the old generation did not answer within "
                f"{plan.release} seconds"
            )
        if (requests or threads) and now > deadline:
            break
    yield from generation.stop(STOP_TIMEOUT)
