"""PID 1 in production: sockets, generations, nginx, and what happens when something ends."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from docker_flask import connections, process
from docker_flask.configuration import nginx_files
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.nginx_files import NginxFiles
from docker_flask.configuration.settings import (
    DECIDED,
    SettingError,
    Settings,
    explain,
    ignored,
    in_bytes,
)
from docker_flask.log import log
from docker_flask.loop import Loop
from docker_flask.paths import NGINX_SOCKET, OK
from docker_flask.prestart import Prestart, PrestartFailed
from docker_flask.privileges import why_not_readable
from docker_flask.servers import registry
from docker_flask.sockets import addresses, ports
from docker_flask.static_files import DEFAULT_URL, NOWHERE, StaticFiles
from docker_flask.supervisor import worker_pool
from docker_flask.supervisor.control import Control
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.listener_drain import ListenerDrain
from docker_flask.worker import response_cache
from docker_flask.worker_options import WorkerOptions

if TYPE_CHECKING:
    from docker_flask.nginx.frontend import Configuration

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h: the application or a server can't run
EXIT_CUT = 75  # EX_TEMPFAIL in sysexits.h: requests in flight were cut at the stop
# More deaths of one process than this within a minute, and the container gives up.
MOST_DEATHS, DEATHS_WINDOW = 5, 60.0
# A client waits this long for a starting application; then nginx answers 503.
PATIENCE = 3.0
# What an application server gets to end by itself before it is killed.
POLITE = 0.8
# The same where requests were cut already: Docker's patience is nearly at its end.
HURRIED = 0.2
# How much later than nginx the supervisor lets go of a request that takes too long.
CUT_MARGIN = 5.0
# Below these, a container that serves well when idle may fail under load, and its log says so.
FEW_DESCRIPTORS, SHORT_BACKLOG, FEW_PROCESSES = 1024, 128, 32
# A cache smaller than this is not worth it; one page takes at most this part of it.
LEAST_CACHE, SHARE_OF_A_PAGE = 1 << 20, 8
# How long nginx may take to end its workers when it gets another configuration.
NGINX_TAKEOVER = 2.0
# How often a serving supervisor looks for what no signal tells: a process that was stopped
# (SIGSTOP), a socket's file that was deleted.
LOOK_AROUND = 2.0


class Stop(Exception):
    """The container is to stop."""


class StopAtOnce(Exception):
    """It was said twice."""


class Failure(Exception):
    """The container can't go on."""

    code = EXIT_NOT_SERVING


@dataclass
class Retiring:
    """An old generation that still has requests to answer."""

    generation: Generation
    since: float = field(default_factory=time.monotonic)
    idle_looks: int = 0


class Supervisor:
    """Runs one container's life; `run` returns the exit code."""

    def __init__(
        self, settings: Settings, limits: Limits, runtime: Path, listeners: list[socket.socket]
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.runtime = runtime
        self.listeners = listeners
        self.ports = ports(listeners)
        self.environment = dict(os.environ)
        # What decided each setting, and how many workers there are, in words.
        self.sources: dict[str, str] = {}
        self.workers = ""
        self.loop = Loop()
        self.server = registry.UWSGI
        self.nginx_files = NginxFiles()
        self.state = "starting"
        # The name of nginx's location for files, and of its header for a server that it reaches by
        # HTTP: what nobody can guess, nobody can ask for or send.
        self.secret = secrets.token_hex(16)
        # The disk keeps room for others.
        disk = os.statvfs(runtime)
        self.cache_room = disk.f_bavail * disk.f_frsize // 4

        self.nginx = 0
        self.configuration: Configuration | None = None
        self.prestart = Prestart()
        self.number = 0
        # The generation that nginx connects to, the one that is being loaded, and the old ones.
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.retiring: list[Retiring] = []
        # What nginx.conf says of static files.
        self.static: StaticFiles | None = None

        self.stops_asked = 0
        self.reload_wanted = False
        self.reload_answers: list[Callable[[str], None]] = []
        self.deaths: dict[str, list[float]] = defaultdict(list)
        self.looked_at = 0.0
        self.resized_at = 0.0
        self.stopped_before: set[int] = set()

    def run(self) -> int:
        """Start, serve until told to stop, and leave nothing behind."""
        try:
            try:
                self.loop.handle_signals(
                    {
                        signal.SIGTERM: self._on_stop,
                        signal.SIGINT: self._on_stop,
                        signal.SIGHUP: self._on_reload,
                        signal.SIGCHLD: self._on_child,
                    }
                )
                Control(
                    self.runtime,
                    self.loop,
                    {"health": self._answer_health, "reload": self._answer_reload},
                )
                self._start()
                self._serve()
            except Stop:
                return self._stop()
        except StopAtOnce:
            log("told twice to stop: stopping at once")
            self._kill_all()
            return EXIT_CUT
        except (Failure, PrestartFailed, SettingError) as failure:
            self._kill_all()
            log(str(failure))
            return failure.code
        return 0

    # --- start -----------------------------------------------------------------------------

    def _start(self) -> None:
        if problem := why_not_readable(Path.cwd()):
            raise Failure(problem)
        self._warn_of_limits()
        self.environment = self.prestart.run(self.loop, self.environment)
        for sentence in ignored(self.environment):
            log(sentence)
        first = self._new_generation(*self._read_wishes())
        self.settings = first.settings
        # As it is for most applications; this one says what it is when it is loaded.
        if self.settings.static_url != "":
            url, max_age = self.settings.static_url or DEFAULT_URL, self.settings.static_max_age
            self.static = StaticFiles(url, NOWHERE, max_age)
        configuration = self._configure_nginx(first.settings)
        patience = min(PATIENCE, self.settings.start_timeout)
        if not self.loop.wait(first.settled, patience, tick=0.1):
            self._say_later(configuration)
            self.loop.wait(first.settled, self.settings.start_timeout - patience, tick=0.1)
        if not first.ready():
            raise Failure(self._why_not_ready(first))
        self._switch_to(first)
        configuration = self._configure_nginx(first.settings, configuration)
        if self.nginx:
            self._end_nginx()
        self._take_up(configuration)
        self._start_nginx()
        self.state = "serving"

    def _warn_of_limits(self) -> None:
        tight = []
        if self.limits.descriptors < FEW_DESCRIPTORS:
            tight.append(f"{self.limits.descriptors} open files (ulimit -n)")
        if self.limits.backlog < SHORT_BACKLOG:
            tight.append(f"{self.limits.backlog} waiting connections (net.core.somaxconn)")
        if 0 < self.limits.processes < FEW_PROCESSES:
            tight.append(f"{self.limits.processes} processes (--pids-limit)")
        if tight:
            log(f"this container is limited to {', '.join(tight)}; under load it will refuse some")

    # --- generations of the application ----------------------------------------------------

    def _read_wishes(self) -> tuple[Settings, str]:
        """The settings, and options for the server, as the environment and the user's files have
        them now. Raises SettingError."""
        wishes = registry.wishes(self.environment, self.limits)
        self.nginx_files = wishes.nginx_files
        self.server = registry.NAMED[wishes.settings.app_server]
        if wishes.left_out:
            left_out = ", ".join(wishes.left_out)
            log(f"options for {self.server.name} left out, because the image decides: {left_out}")
        rows = explain(self.environment, self.limits, wishes.said)
        self.sources = {name: source.removeprefix(DECIDED) for name, _, source in rows}
        return wishes.settings, wishes.options

    def _new_generation(self, settings: Settings, options: str) -> Generation:
        self.number += 1
        self.candidate = Generation(
            self.number, self.runtime, self.server, self.loop, settings, self.limits, options
        )
        self._start_server(self.candidate)
        return self.candidate

    def _start_server(self, generation: Generation) -> None:
        settings = generation.settings
        # uWSGI takes every UWSGI_* variable for an option, and dies of those that it does not
        # know, as Kubernetes sets them for a service called uwsgi.
        environment = {
            name: value for name, value in self.environment.items() if not name.startswith("UWSGI_")
        }
        # Whatever the container was told, or a .flaskenv that was written for development says.
        environment["FLASK_DEBUG"] = "0"
        if not os.access("/tmp", os.W_OK):
            environment.setdefault("TMPDIR", str(self.runtime))
        # Gunicorn can't read one that is set but empty.
        environment["WEB_CONCURRENCY"] = str(settings.web_concurrency)
        generation.start(environment, self._worker_options(generation))

    def _worker_options(self, generation: Generation) -> WorkerOptions:
        settings = generation.settings
        cache = self._cache(settings)
        replaces = self.current and generation is not self.current
        return WorkerOptions(
            app_module=settings.app_module or "",
            uwsgi_ini=settings.uwsgi_ini or "",
            trusted_proxies=settings.trusted_proxies or (),
            preload=settings.preload,
            load_lock=str(self.runtime / "load.lock") if replaces else "",
            request_timeout=settings.request_timeout,
            max_requests=settings.max_requests,
            max_worker_memory=in_bytes(settings.max_worker_memory),
            retire_signal=int(self.server.retire_signal),
            max_threads=0 if settings.threads else registry.most_threads(settings, self.limits),
            max_threads_memory=self.limits.memory // 2,
            client_header=self._header(),
            sendfile_location=self._files_location(settings),
            cache_folder=str(self.runtime / "cache") if cache else "",
            max_cached_page=cache // SHARE_OF_A_PAGE,
            static_url=settings.static_url,
            static_path=settings.static_path,
            static_max_age=settings.static_max_age,
        )

    def _switch_to(self, fresh: Generation) -> None:
        """Let a generation that is ready serve."""
        fresh.point(self.runtime / "app.sock")
        if self.current:
            self.retiring.append(Retiring(self.current))
            self._forget_pages()
        self.current, self.candidate = fresh, None
        shared = (
            "; loaded once (PRELOAD=1), so its workers share the connections opened at import"
            if fresh.settings.preload
            else ""
        )
        self._link_static(fresh)
        self._say_workers(fresh)
        places = ", ".join(map(str, self.ports))
        log(f"serving {fresh.loaded} on port {places}{shared}")
        self.settings = fresh.settings

    def _say_workers(self, generation: Generation) -> None:
        first, most = self.sources["UWSGI_CHEAPER"], self.sources["WEB_CONCURRENCY"]
        if generation.pool:
            words = generation.pool.words(first, most)
            if not generation.settings.threads:
                threads = registry.most_threads(generation.settings, self.limits)
                words += f", each of 1 to {threads} threads"
        else:
            words = f"{generation.settings.web_concurrency} workers ({most})"
        if words != self.workers:
            log(words)
        self.workers = words

    def _why_not_ready(self, generation: Generation) -> str:
        return generation.failure or (
            "the application did not load within "
            f"START_TIMEOUT={generation.settings.start_timeout:g} seconds"
        )

    def _generations(self) -> list[Generation]:
        known = [self.current, self.candidate, *(old.generation for old in self.retiring)]
        return [generation for generation in known if generation]

    # --- nginx -----------------------------------------------------------------------------
    # frontend is imported late because Jinja takes longer to load than everything else here,
    # and the application server loads the application meanwhile.

    def _link_static(self, generation: Generation) -> None:
        """Let nginx find the static files of a generation, and those of none before it."""
        from docker_flask.nginx import frontend

        try:
            frontend.link_static(self.runtime, generation.static, generation.number)
        except OSError as error:
            log(f"static files are left to the application: {error}")
            return
        if generation.static_words:
            log(generation.static_words)
        # Without any, what nginx.conf says does no harm.
        self.static = generation.static or self.static

    def _configure_nginx(
        self, settings: Settings, tested: Configuration | None = None
    ) -> Configuration:
        """What nginx is to run with now, tested if it is not the one that was. Raises
        SettingError."""
        from docker_flask.nginx import frontend

        nginx_files.link_folder(self.runtime)
        return frontend.configure(
            settings,
            self.limits,
            self.nginx_files,
            self.runtime,
            addresses(self.listeners),
            self.static,
            self._files_location(settings),
            self._header(),
            self._descriptors(),
            self._cache(settings),
            self.number if registry.keeps_connections(settings) else 0,
            tested,
        )

    def _say_later(self, configuration: Configuration) -> None:
        """Answer 503 while the application takes its time to load, where the image may."""
        from docker_flask.nginx import frontend

        if configuration.is_whole:
            log("the application is still loading; clients wait until it is ready")
            return
        log("the application is still loading; clients get 503 until it is ready")
        places = addresses(self.listeners)
        text = frontend.render(self.settings, self.limits, self.runtime, places, starting=True)
        (self.runtime / "nginx.conf").write_text(text)
        self._start_nginx()

    def _files_location(self, settings: Settings) -> str:
        by_nginx = settings.sendfile and not self.nginx_files.passes_requests
        return f"/{self.secret}" if by_nginx else ""

    def _header(self) -> str:
        return f"X-{self.secret}" if self.server.over_http else ""

    def _cache(self, settings: Settings) -> int:
        """Bytes of pages that nginx may keep."""
        if self.nginx_files.passes_requests or self.nginx_files.has_own_cache:
            return 0
        size = min(in_bytes(settings.response_cache), self.cache_room)
        return size if size >= LEAST_CACHE else 0

    def _forget_pages(self) -> None:
        from docker_flask.nginx import frontend

        frontend.forget_pages(self.runtime)

    def _descriptors(self) -> list[int]:
        return [listener.fileno() for listener in self.listeners]

    def _take_up(self, configuration: Configuration) -> None:
        """Let nginx start with this configuration from now on."""
        if not self.configuration or configuration.notes != self.configuration.notes:
            for note in configuration.notes:
                log(note)
        self.configuration = configuration
        os.replace(configuration.file, self.runtime / "nginx.conf")

    def _start_nginx(self) -> None:
        from docker_flask.nginx import frontend

        (self.runtime / NGINX_SOCKET).unlink(missing_ok=True)
        inherited = range(process.FIRST_DESCRIPTOR, process.FIRST_DESCRIPTOR + len(self.listeners))
        self.nginx = process.spawn(
            frontend.command(self.runtime / "nginx.conf"),
            {**self.environment, **frontend.environment(list(inherited))},
            self._descriptors(),
        )

    def _reload_nginx(self, settings: Settings, tested: Configuration) -> None:
        """Let nginx take over what a reload changed in its configuration, if anything."""
        try:
            configuration = self._configure_nginx(settings, tested)
        except (SettingError, OSError) as error:
            log(f"nginx serves on as before: {error}")
            # Where it keeps connections, clients are sent away still: so it uses none of these, as
            # they lead to the old generation.
            return
        if self.configuration and configuration.read == self.configuration.read:
            return
        self._take_up(configuration)
        # nginx closes idle connections when it takes over: clients are told to leave them before.
        self._send_clients_away()
        self.loop.wait(lambda: not self._clients(), settings.drain_delay, tick=0.02)
        workers = process.states([self.nginx]).keys() - {self.nginx}
        process.signal_process(self.nginx, signal.SIGHUP)
        self.loop.wait(lambda: not any(map(process.alive, workers)), NGINX_TAKEOVER, tick=0.02)
        (self.runtime / "draining").unlink()

    def _end_nginx(self) -> None:
        """End the nginx that says "later", and wait for it; connections queue meanwhile.

        A reload would let both answer for a moment, so that a client could see 503 after 200.
        """
        pid, self.nginx = self.nginx, 0
        process.signal_process(pid, signal.SIGQUIT)
        self.loop.wait(lambda: not process.alive(pid), 2.0, tick=0.01)
        process.signal_group(pid, signal.SIGKILL)

    # --- signals and commands --------------------------------------------------------------

    def _on_stop(self) -> None:
        if self.state == "ending":
            return
        self.stops_asked += 1
        raise Stop if self.stops_asked == 1 else StopAtOnce

    def _on_reload(self) -> None:
        self.reload_wanted = True

    def _answer_reload(self, answer: Callable[[str], None]) -> None:
        if self.state != "serving":
            answer(f"no reload while the container is {self.state}")
            return
        self.reload_answers.append(answer)
        self.reload_wanted = True

    def _answer_health(self, answer: Callable[[str], None]) -> None:
        answer(OK if self.state == "serving" and self.nginx else f"the container is {self.state}")

    def _on_child(self) -> None:
        for pid, status in process.reap():
            if pid == self.prestart.pid:
                self.prestart.ended(status)
            elif pid == self.nginx:
                self._nginx_ended(status)
            else:
                for generation in self._generations():
                    if pid == generation.pid:
                        self._server_ended(generation, status)

    # --- deaths ----------------------------------------------------------------------------

    def _nginx_ended(self, status: int) -> None:
        group, self.nginx = self.nginx, 0
        if self.state in ("stopping", "ending"):
            return
        self._count_death("nginx", f"nginx (pid {group}) {process.describe(status)}")
        # Workers that outlived their master finish what they have and go.
        process.signal_group(group, signal.SIGQUIT)
        self._start_nginx()

    def _server_ended(self, generation: Generation, status: int) -> None:
        reason = generation.ended(status)
        if self.state in ("stopping", "ending"):
            return
        if generation is self.candidate:
            generation.failure = generation.failure or (
                f"{reason} before it had loaded the application{generation.hint}"
            )
        elif generation is self.current:
            self._count_death(self.server.name, reason)
            # The new one takes up the socket where connections wait. Workers that outlived their
            # master answer what they have, see that it is gone, and go.
            self._start_server(generation)

    def _count_death(self, name: str, reason: str) -> None:
        now = time.monotonic()
        recent = [moment for moment in self.deaths[name] if now - moment < DEATHS_WINDOW]
        self.deaths[name] = [*recent, now]
        if len(self.deaths[name]) > MOST_DEATHS:
            raise Failure(f"{reason}, for the {len(self.deaths[name])}th time within a minute")
        log(f"{reason}; starting it again")

    # --- serve -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self.loop.wait(self._something_to_do, 0.1 if self.retiring else self._pause())
            if self.current and self.current.failure:
                raise Failure(self.current.failure)
            if self.reload_wanted:
                self._reload()
            self._retire_idle()
            self._resize()
            self._look_around()

    def _something_to_do(self) -> bool:
        broken = self.current and self.current.failure
        return self.reload_wanted or bool(broken)

    def _reload(self) -> None:
        """Put a new generation in the place of the current one, which serves until then."""
        answers, self.reload_answers = self.reload_answers, []
        self.reload_wanted = False
        log("loading the application anew, beside the generation that serves")
        problem = self._renew()
        outcome = f"not reloaded, the old generation serves on: {problem}" if problem else OK
        if problem:
            log(outcome)
        for answer in answers:
            answer(outcome)

    def _renew(self) -> str:
        """Load and serve what the user's files have now; returns why not, if so."""
        try:
            wishes = self._read_wishes()
            tested = self._configure_nginx(wishes[0])
            fresh = self._new_generation(*wishes)
        except (SettingError, OSError) as error:  # such as a disk that is full
            return str(error)
        settings = fresh.settings
        workers = settings.first_workers
        self.loop.wait(lambda: fresh.settled(workers), settings.start_timeout, tick=0.1)
        if not fresh.ready():
            self.candidate = None
            fresh.kill()
            return self._why_not_ready(fresh)
        if registry.keeps_connections(self.settings):
            # None that was kept is used on this way, so that all requests change over at once.
            self._send_clients_away()
        self._switch_to(fresh)
        self._reload_nginx(settings, tested)
        return ""

    def _retire_idle(self) -> None:
        """Stop the old generations whose last request is answered, or took too long."""
        for old in list(self.retiring):
            requests = old.generation.requests()
            old.idle_looks = 0 if requests else old.idle_looks + 1
            overdue = time.monotonic() - old.since > self.settings.request_timeout + CUT_MARGIN
            if overdue:
                log(f"cutting {requests} requests that the old generation did not answer in time")
            # Two looks, because a connection can be on its way between the two programs.
            if overdue or old.idle_looks >= 2:
                old.generation.stop(POLITE)
                self.retiring.remove(old)
                self._forget_pages()  # also those that it made last

    def _pause(self) -> float:
        return self.current.pool.pause if self.current and self.current.pool else worker_pool.LOOK

    def _resize(self) -> None:
        now = time.monotonic()
        if self.current and now - self.resized_at >= self._pause() - 0.05:
            self.resized_at = now
            self.current.resize()

    def _look_around(self) -> None:
        now = time.monotonic()
        if now - self.looked_at < LOOK_AROUND:
            return
        self.looked_at = now
        self._end_stopped()
        if self.current and not (self.runtime / "app.sock").exists():
            log("the application's socket was deleted")
            self.reload_wanted = True

    def _end_stopped(self) -> None:
        """Kill what somebody stopped with SIGSTOP, so that it is replaced."""
        groups = {self.nginx, *(group for g in self._generations() for group in g.groups)}
        stopped = {pid for pid, state in process.states(groups).items() if state == "T"}
        for pid in stopped & self.stopped_before:
            log(f"process {pid} has been stopped for {LOOK_AROUND:g} seconds; killing it")
            process.signal_process(pid, signal.SIGKILL)
        self.stopped_before = stopped

    # --- stop ------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Answer everything that was accepted, then end everything (docs/reliability.md)."""
        begun = time.monotonic()

        def left() -> float:
            return max(0.0, begun + self.settings.graceful_timeout - time.monotonic())

        served, self.state = self.state == "serving", "stopping"
        if not served:
            log("stopping before the start was complete")
            self._kill_all()
            return 0
        log("stopping")
        if self.candidate:
            self.candidate.kill()
            self.candidate = None
        self._send_clients_away()
        drain = min(self.settings.drain_delay, left())
        self.loop.wait(lambda: not self._clients(), drain, tick=0.02)
        turned_away = ListenerDrain(self.listeners, self.loop).close(
            lambda: process.signal_process(self.nginx, signal.SIGQUIT), left() / 2
        )
        self.loop.wait(lambda: not self.nginx, left(), tick=0.02)
        cut = self._clients() if self.nginx else 0
        process.signal_group(self.nginx, signal.SIGKILL)
        for generation in self._generations():
            generation.stop(HURRIED if cut else POLITE)
        self.loop.wait(lambda: not process.any_left(), HURRIED, tick=0.02)
        if cut:
            timeout = self.settings.graceful_timeout
            log(f"stopped; {cut} requests were cut at GRACEFUL_TIMEOUT={timeout:g}")
            return EXIT_CUT
        log(
            f"stopped; {turned_away} waiting connections got 503 with Retry-After"
            if turned_away
            else "stopped; every request was answered"
        )
        return 0

    def _send_clients_away(self) -> None:
        """Have nginx tell each client to connect anew for its next request.

        It looks for the first of these files only where it finds the second, which stays: by then,
        the application may have set it, too.
        """
        (self.runtime / "draining").touch()
        (self.runtime / response_cache.SHARING).touch()

    def _clients(self) -> int:
        return sum(map(connections.to_port, self.ports))

    def _kill_all(self) -> None:
        """End every process at once and wait until the last is gone."""
        self.state = "ending"
        for generation in self._generations():
            generation.kill()
        for group in (self.nginx, self.prestart.pid):
            process.signal_group(group, signal.SIGKILL)
        self.loop.wait(lambda: not process.any_left(), POLITE, tick=0.02)
