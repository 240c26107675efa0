"""The start: from prestart.sh to the first generation that serves."""

import os

from docker_flask.plan.settings import ignored
from docker_flask.shared import sockets
from docker_flask.shared.log import first_line, log
from docker_flask.supervisor.log_relay import LogRelay
from docker_flask.supervisor.restarts import Failure
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.task import complete

# Seconds that clients wait for an application that is loading, before nginx responds with 503.
WAIT_BEFORE_503 = 3.0


def start(service: Service, relay: LogRelay) -> None:
    """Returns when the container serves.

    The listening sockets are bound: clients wait in the kernel's queue. Each error ends the
    container, with the exit code that the error has: PrestartFailed, SettingError (also of nginx's
    configuration), Failure, OSError (a full disk). A stop signal ends each of the waits.
    """
    loop, nginx, certificates = service.loop, service.nginx, service.certificates

    # prestart.sh first, because it may set variables. Then all decisions: the plan.
    service.environment = service.prestart.run(loop, os.environ)
    service.start_log.notes += ignored(service.environment)
    plan = complete(loop, service.make_plan())
    relay.shows_all = plan.settings.log_level == "debug"
    if plan.nginx_files.whole is None:
        certificates.start(plan.settings)

    # The application loads. Meanwhile, nginx tests the configuration that most applications need.
    first = service.load(plan)
    log(first_line(first.server.name))  # also if the load fails
    complete(loop, service.note_unreadable_files())
    configuration = complete(loop, service.configure_nginx(plan, None))

    # Clients wait for an application that loads within a few seconds; then they get 503.
    seconds = min(WAIT_BEFORE_503, plan.settings.start_timeout)
    if not loop.wait(first.settled, seconds, tick=0.1):
        if not plan.settings.bind_when_ready:
            nginx.answer_503(plan, certificates.folder)
        loop.wait(first.settled, plan.settings.start_timeout - seconds, tick=0.1)
    if not first.ready():
        raise Failure(first.why_not_ready())

    # One worker has loaded the application, and has reported where its static files are. Its memory
    # may have changed the plan. nginx starts when its link leads to the application.
    plan = first.plan
    configuration = complete(loop, service.configure_nginx(plan, first, configuration))
    service.switch_to(first)
    sockets.listen(service.listeners)  # for BIND_WHEN_READY=1; a second time changes nothing
    nginx.start(plan, configuration)
    service.phase = Phase.SERVING
    service.start_log.serves(first, configuration.notes)
