"""Process 1 in production: its signals, the order of start, serve and stop, and its exit code."""

import itertools
import signal
import socket
from functools import partial

from docker_flask.shared import process
from docker_flask.shared.log import log
from docker_flask.shared.loop import Interrupt
from docker_flask.shared.prestart import PrestartFailed
from docker_flask.shared.setting_error import SettingError
from docker_flask.supervisor.answers import answer
from docker_flask.supervisor.log_relay import LogRelay
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.restarts import Failure
from docker_flask.supervisor.serve import serve
from docker_flask.supervisor.service import Service
from docker_flask.supervisor.start import start
from docker_flask.supervisor.status import Status
from docker_flask.supervisor.stop import EXIT_CUT, stop


class Stop(Interrupt):
    """A stop signal arrived."""


class StopAtOnce(Interrupt):
    """A second stop signal arrived."""


def supervise(service: Service, status_listeners: list[socket.socket], relay: LogRelay) -> int:
    """Start, serve until a stop signal, and end all processes; returns the exit code."""
    reloads = Reloads(service)
    status = Status(service, reloads)
    answer(service, reloads, status, status_listeners)
    try:
        try:
            _handle_signals(service, reloads)
            start(service, relay)
            serve(service, reloads, status)
        except Stop:
            return _stop(service, reloads)
    except StopAtOnce:
        log("stopping immediately")
        service.kill_all()
        return EXIT_CUT
    except (Failure, PrestartFailed, SettingError) as failure:
        service.kill_all()
        service.start_log.fails()
        log(str(failure))
        return failure.code
    except (OSError, MemoryError):
        service.kill_all()
        raise


def _handle_signals(service: Service, reloads: Reloads) -> None:
    stops = itertools.count()

    def on_stop() -> None:
        raise StopAtOnce if next(stops) else Stop

    def on_child() -> None:
        for pid, status in process.reap():
            service.loop.guard(partial(service.child_ended, pid, status))

    service.loop.handle_signals(
        {
            signal.SIGTERM: on_stop,
            signal.SIGINT: on_stop,
            signal.SIGHUP: reloads.request,
            signal.SIGCHLD: on_child,
        }
    )


def _stop(service: Service, reloads: Reloads) -> int:
    try:
        reloads.cancel()
        return stop(service)
    except Exception as error:
        service.loop.report(error)
        raise StopAtOnce from None
