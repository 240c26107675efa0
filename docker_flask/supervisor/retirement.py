"""The end of an old generation: once it has answered its requests, or when they take too long."""

from __future__ import annotations

import time

from docker_flask.log import log
from docker_flask.nginx.nginx import Nginx
from docker_flask.supervisor.generation import Generation
from docker_flask.task import Steps, pause

# Seconds between two looks, and how many in a row must find no request: a connection can be on its
# way between nginx and the application.
LOOK, IDLE_LOOKS = 0.1, 2
# Seconds that an idle server gets to end by itself.
PATIENCE = 0.8


def retire(old: Generation, nginx: Nginx) -> Steps[None]:
    """Stop a generation that gets no new requests."""
    deadline = time.monotonic() + old.plan.timeouts.release
    idle_looks = 0
    while idle_looks < IDLE_LOOKS:
        yield pause(LOOK)
        requests = old.requests()
        idle_looks = 0 if requests else idle_looks + 1
        if time.monotonic() > deadline:
            log(
                f"cutting {requests} requests that the old generation did not answer within "
                f"{old.plan.timeouts.release:g} seconds"
            )
            break
    yield from old.stop(PATIENCE)
    nginx.forget_pages()  # also those that it made last
