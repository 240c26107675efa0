"""The start: prestart.sh, the first generation, then nginx."""

from __future__ import annotations

import os

from docker_flask import about
from docker_flask.configuration.settings import ignored, too_late
from docker_flask.first_process import sockets
from docker_flask.log import log
from docker_flask.supervisor.log_relay import LogRelay
from docker_flask.supervisor.service import Failure, Phase, Service

# Seconds that clients wait for an application that is loading, before nginx responds with 503.
WAIT_BEFORE_503 = 3.0


def start(service: Service, relay: LogRelay) -> None:
    """Serve; raises Failure, PrestartFailed, SettingError, OSError."""
    service.environment = service.prestart.run(service.loop, os.environ)
    notes = [*too_late(os.environ, service.environment), *ignored(service.environment)]
    service.start_log.notes += notes
    plan, nginx = service.make_plan(), service.nginx
    relay.shows_all = plan.settings.is_verbose
    first = service.load(plan)
    # While the application loads, nginx tests the configuration that most applications need.
    configuration = nginx.prepare(plan, nginx.usual_static(plan))
    seconds = min(WAIT_BEFORE_503, plan.settings.start_timeout)
    if not service.loop.wait(first.settled, seconds, tick=0.1):
        if not plan.settings.bind_when_ready:
            nginx.answer_503(plan)
        service.loop.wait(first.settled, plan.settings.start_timeout - seconds, tick=0.1)
    if not first.ready():
        raise Failure(first.why_not_ready())
    configuration = nginx.prepare(plan, first.static, configuration)
    service.switch_to(first)
    sockets.listen(service.listeners)  # for BIND_WHEN_READY=1; a second time changes nothing
    nginx.start(plan, configuration)
    service.phase = Phase.SERVING
    log(about.line(first.server.name))
    service.start_log.serves(first, configuration.notes)
