"""The application servers: what the supervisor must know of each, and nothing more.

A server is started on a listening socket that it inherits as descriptor 3, is ready when its
workers say so through docker_flask.notify, and is ended with a signal.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_flask.configuration import gunicorn_conf, uwsgi_options
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.nginx_files import NginxFiles
from docker_flask.configuration.settings import Said, SettingError, Settings, load

SOCKET_FD = 3
VENV = Path("/opt/venv")
HOME = Path("/opt/docker-flask")
UWSGI_PROGRAM = VENV / "bin/uwsgi"
PYTHON = VENV / "bin/python"
# Where nginx has no CPU to itself, it and the supervisor come first: what can't be served is then
# told so at once, and does not wait unread in the kernel. Elsewhere it would only interrupt a
# worker at each of its answers, which costs a quarter of the requests.
YIELDING, CPUS_TO_YIELD = ["/usr/bin/nice", "-n", "10"], 2
# Threads of uWSGI's workers where their number is the image's choice. Few workers of many threads,
# and not the other way round, because pools of connections are each worker's: SQLAlchemy's are of
# 15, a PostgreSQL takes 100. Of uWSGI's memory, one that may be takes 2 KB, also while it is not.
MOST_THREADS = 128
# Requests that a worker of class gevent takes at a time; Gunicorn's own default.
GREENLETS = 1000
# What is not in the image, as it was tested.
GUNICORN_PIN, GRANIAN_PIN, GEVENT_PIN = "gunicorn==27.0.1", "granian==2.8.7", "gevent==26.9.0"
GUNICORN_GEVENT_PIN = GUNICORN_PIN.replace("==", "[gevent]==")


@dataclass(frozen=True)
class Wishes:
    """What the environment and the user's files want: settings, options for the server as a file
    that it reads (or none), and what they say without effect."""

    settings: Settings
    options: str
    said: Mapping[str, Said]
    nginx_files: NginxFiles
    left_out: list[str]


@dataclass(frozen=True)
class AppServer:
    """One application server.

    name: in the log; command: its command line, from the settings, the limits, a file with options
    of the user's if there is one, and the path of the FIFO for orders; stop_signal: ends the whole
    server; retire_signal: sent to one worker, makes that take no more requests; via: the module of
    nginx that speaks with it, `uwsgi`, or `proxy` for HTTP; grows: takes orders from the FIFO: a +
    for each worker more, a - for each fewer.
    """

    name: str
    command: Callable[[Settings, Limits, Path | None, Path], list[str]]
    stop_signal: signal.Signals
    retire_signal: signal.Signals
    via: str
    grows: bool = False

    @property
    def over_http(self) -> bool:
        """True if it takes requests as HTTP."""
        return self.via == "proxy"


def wishes(environ: Mapping[str, str], limits: Limits) -> Wishes:
    """Read them as they are now; raises SettingError, also for what this image does not have."""
    first = load(environ, limits)
    server = first.app_server
    nginx_files = NginxFiles.read()
    said, options, left_out = nginx_files.settings(server), "", list[str]()
    if server == "uwsgi":
        found = uwsgi_options.read(Path.cwd(), environ, UWSGI_PROGRAM)
        options, left_out = found.text, found.own
        # Whoever tells uWSGI something means what uWSGI makes of it; and one that somebody has
        # built over the image's does not know its plugin.
        if options or UWSGI_PROGRAM.read_bytes()[:2] != b"#!":
            said = said | {"threads": Said("uWSGI's default", "1", "")}
        said = said | found.said
    elif server == "gunicorn":
        pin = GUNICORN_GEVENT_PIN if first.worker_class == "gevent" else GUNICORN_PIN
        _require("gunicorn", "APP_SERVER=gunicorn", pin)
        of_file = gunicorn_conf.read(Path.cwd(), environ, PYTHON)
        said, left_out = said | of_file.said, of_file.own
    settings = load(environ, limits, said)
    _check(settings)
    return Wishes(settings, options, said, nginx_files, left_out)


def at_once(settings: Settings) -> int:
    """Requests that the workers can have in hand at the same time."""
    return settings.web_concurrency * each_at_once(settings)


def each_at_once(settings: Settings) -> int:
    """The same of one worker."""
    return GREENLETS if settings.worker_class == "gevent" else settings.threads or 1


def keeps_connections(settings: Settings) -> bool:
    """True if the connections of nginx to the server stay open from one request to the next.

    Where each gets a greenlet, which costs more than a small answer. Elsewhere it saves nothing,
    and what is sent on a kept one waits for its worker, though another may be free.
    """
    greenlets = settings.app_server == "gunicorn" and settings.worker_class == "gevent"
    return greenlets and not NginxFiles.read().whole


def most_threads(settings: Settings, limits: Limits) -> int:
    """Threads that a worker may have."""
    if settings.threads:
        return settings.threads
    # Each worker has two more, and there are twice as many in a reload; ten are other processes.
    room = (limits.processes - 10) // (2 * settings.web_concurrency) - 2
    return max(1, min(MOST_THREADS, room)) if limits.processes else MOST_THREADS


def _check(settings: Settings) -> None:
    greenlets = settings.worker_class == "gevent"
    if settings.app_server == "granian":
        _require("granian", "APP_SERVER=granian", GRANIAN_PIN)
        if settings.worker_class in ("gevent", "sync"):
            raise SettingError(
                f"WORKER_CLASS={settings.worker_class} is not allowed with APP_SERVER=granian, "
                "which has threads only: gthread is"
            )
    if greenlets:
        pin = GUNICORN_GEVENT_PIN if settings.app_server == "gunicorn" else GEVENT_PIN
        _require("gevent", "WORKER_CLASS=gevent", pin)
    if greenlets and (settings.threads or 1) > 1:
        raise SettingError(
            f"THREADS={settings.threads} is not allowed with WORKER_CLASS=gevent, whose requests "
            "run in greenlets: only 1 is"
        )


def _require(package: str, wanted_by: str, pin: str) -> None:
    if not any(VENV.glob(f"lib/python3*/site-packages/{package}/__init__.py")):
        raise SettingError(
            f"{wanted_by} is not allowed without {package}, which this image does not have: add "
            f"the line {pin} to requirements.txt and build it, or set INSTALL_ON_START=1"
        )


def _uwsgi(
    settings: Settings, limits: Limits, options_file: Path | None, orders: Path
) -> list[str]:
    # None may be called as one of uWSGI's own options.
    placeholders = {
        "worker-count": settings.web_concurrency,
        "fewest-workers": settings.uwsgi_cheaper,
        "thread-count": most_threads(settings, limits),
        "load-in-workers": int(not settings.preload),
        "load-in-master": int(settings.preload),
        "socket-fd": SOCKET_FD,
        "socket-backlog": limits.backlog,
        "io-seconds": int(settings.request_timeout) + 5,
        "open-files": limits.descriptors,
        "orders-fifo": orders,
    }
    options = [
        word
        for key, value in placeholders.items()
        for word in ("--set-placeholder", f"{key}={value}")
    ]
    greenlets = settings.worker_class == "gevent"
    options += ["--gevent", str(GREENLETS), "--gevent-monkey-patch"] if greenlets else []
    if not settings.threads:
        options += ["--plugin", str(HOME / "threads_plugin.so"), "--loop", "threads"]
    # Of an option that stands in both files, the last counts.
    users = ["--ini", str(options_file)] if options_file else []
    return [
        *_yielding(limits),
        str(UWSGI_PROGRAM),
        *options,
        "--ini",
        str(HOME / "app.ini"),
        *users,
    ]


def _yielding(limits: Limits) -> list[str]:
    return YIELDING if limits.cpus < CPUS_TO_YIELD else []


def _gunicorn(settings: Settings, limits: Limits, _: Path | None, __: Path) -> list[str]:
    threads = settings.threads or 1
    threaded = "gthread" if threads > 1 else "sync"
    return _python(
        "gunicorn_server",
        limits,
        worker_class=settings.worker_class or threaded,
        workers=settings.web_concurrency,
        threads=threads,
        worker_connections=GREENLETS if settings.worker_class == "gevent" else threads,
        preload_app=settings.preload,
        backlog=limits.backlog,
        graceful_timeout=int(settings.request_timeout) + 5,
        # For ever: it is nginx that closes them, so that none is closed when it is used again.
        keepalive=10**6 if keeps_connections(settings) else 0,
    )


def _granian(settings: Settings, limits: Limits, _: Path | None, __: Path) -> list[str]:
    return _python(
        "granian_server",
        limits,
        workers=settings.web_concurrency,
        blocking_threads=settings.threads or 1,
        backpressure=settings.threads or 1,
        backlog=limits.backlog,
    )


def _python(module: str, limits: Limits, **options: Any) -> list[str]:
    """A server that is started by a module of ours, which gets its options as JSON.

    -P: the application's folder must not hide modules of the server's.
    """
    return [
        *_yielding(limits),
        str(PYTHON),
        "-P",
        "-m",
        f"docker_flask.worker.{module}",
        json.dumps(options),
    ]


UWSGI = AppServer("uWSGI", _uwsgi, signal.SIGINT, signal.SIGHUP, "uwsgi", grows=True)
GUNICORN = AppServer("Gunicorn", _gunicorn, signal.SIGINT, signal.SIGTERM, "proxy")
GRANIAN = AppServer("Granian", _granian, signal.SIGINT, signal.SIGTERM, "proxy")
# By the values of APP_SERVER.
NAMED = {"uwsgi": UWSGI, "gunicorn": GUNICORN, "granian": GRANIAN}
