"""The stop: finish all accepted requests within GRACEFUL_TIMEOUT, then end all processes."""

import time
from collections.abc import Callable

from docker_flask.shared import process
from docker_flask.shared.log import log
from docker_flask.shared.paths import NOT_READY
from docker_flask.supervisor.generation import STOP_TIMEOUT
from docker_flask.supervisor.listener_drain import close_listeners
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.task import TICK, finish

EXIT_CUT = 75  # EX_TEMPFAIL in sysexits.h: the stop cut running requests
# Seconds that a server gets to stop after requests were cut: Docker will kill the container soon.
SHORT_STOP_TIMEOUT = 0.2
# Seconds that nginx gets to accept the queue at a stop. It accepts thousands a second: if it needs
# longer, the container has too much load, and the rest of the time is better spent on responses.
QUEUE_TIMEOUT = 2.0


def stop(service: Service) -> int:
    """Returns the exit code: 0 if no accepted request was cut.

    All of that takes at most GRACEFUL_TIMEOUT and the short times above. An exception in it and a
    second stop signal kill all processes at once.
    """
    if not service.current or service.phase is not Phase.SERVING:
        service.phase = Phase.STOPPING
        service.start_log.fails()
        log("stopping before the start is complete")
        service.kill_all()
        return 0
    started, plan = time.monotonic(), service.current.plan
    loop, nginx, limit = service.loop, service.nginx, plan.settings.graceful_timeout

    def left() -> float:
        return max(0.0, started + limit - time.monotonic())

    # Not ready any more: load balancers and clients go elsewhere, for DRAIN_DELAY.
    service.phase = Phase.STOPPING
    service.restarts.advance(at_once=True)  # requests may wait for it
    nginx.send_clients_away(NOT_READY)
    log("stopping")
    always = plan.drains_without_clients
    delay = min(plan.settings.drain_delay, left())
    loop.wait(lambda: not (always or nginx.clients()), delay, tick=TICK)

    # No new connections. nginx accepts those that wait, and is told to end; the others get 503.
    for generation in service.generations():
        generation.close_web_sockets()
    seconds = min(QUEUE_TIMEOUT, left() / 2)
    rejected = close_listeners(
        service.listeners, loop, nginx.quit, lambda: nginx.pid, seconds, plan.tls_port
    )

    # nginx ends after its last response. The clients without a pid: of workers whose first process
    # was killed. Nobody waits for a request whose client has left.
    while (nginx.pid or nginx.clients()) and left():
        is_last, seconds = not nginx.clients(), min(STOP_TIMEOUT, left())
        loop.wait(lambda: not (nginx.pid or nginx.clients()), seconds, tick=TICK)
        if is_last:
            break
    cut = nginx.clients()
    nginx.kill()

    # Then the application, after threads that outlive their requests.
    threads = _wait_for_threads(service, left)
    timeout = SHORT_STOP_TIMEOUT if cut or threads else STOP_TIMEOUT
    finish(loop, *(generation.stop(timeout) for generation in service.generations()))
    loop.wait(lambda: not process.any_left(), SHORT_STOP_TIMEOUT, tick=TICK)
    return _report(cut, threads, rejected, limit)


def _wait_for_threads(service: Service, left: Callable[[], float]) -> int:
    """Wait for threads that outlive their requests; returns how many are left."""
    loop, generations = service.loop, list(service.generations())
    # A worker reports its threads before it closes the connection with nginx.
    seconds = min(SHORT_STOP_TIMEOUT, left())
    loop.wait(lambda: not any(each.requests() for each in generations), seconds, tick=TICK)
    loop.wait(lambda: not any(each.threads() for each in generations), left(), tick=TICK)
    return sum(each.threads() for each in generations)


def _report(cut: int, threads: int, rejected: int, limit: float) -> int:
    """Log what was cut, and return the exit code."""
    if cut or threads:
        what = f"{threads} threads" if threads else f"{cut} requests"
        if cut and threads:
            what = f"{cut} requests and {what}"
        log(f"stopped; {what} were cut after GRACEFUL_TIMEOUT={limit:g} seconds")
        return EXIT_CUT
    queued = f"{rejected} waiting connections got 503 with Retry-After"
    log(f"stopped; {queued if rejected else 'every request was answered'}")
    return 0
