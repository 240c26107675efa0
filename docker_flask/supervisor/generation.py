"""A generation: one application server on one socket that the supervisor bound and keeps."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from docker_flask import connections, notify, process
from docker_flask.configuration.limits import Limits
from docker_flask.configuration.settings import Settings
from docker_flask.loop import Loop
from docker_flask.runtime_folder import point
from docker_flask.servers.registry import SOCKET_FD, AppServer
from docker_flask.static_files import StaticFiles
from docker_flask.supervisor.worker_pool import Pool
from docker_flask.worker_options import WorkerOptions


class Generation:
    """The socket outlives the server: when that one dies, connections queue for the next."""

    def __init__(
        self,
        number: int,
        runtime: Path,
        server: AppServer,
        loop: Loop,
        settings: Settings,
        limits: Limits,
        options: str,
    ) -> None:
        """options: what the user's files have for the server, as a file that it reads."""
        # The kernel lists sockets by path, and containers may share its list.
        self.path = runtime / f"app{number}-{secrets.token_hex(4)}.sock"
        self.number = number
        self.server = server
        self.settings = settings
        # What may be the reason that the server does not start.
        self.hint = options and "; the lines above may say which option in uwsgi.ini it is"
        self.pid = 0
        # Of this server and of those before it on this socket, whose workers may live on.
        self.groups: list[int] = []
        self.loaded = ""
        self.failure = ""
        # What nginx may serve for it, and what to say about that.
        self.static: StaticFiles | None = None
        self.static_words = ""
        # How many workers there should be, where that changes and the user leaves it to the image.
        grows = server.grows and settings.uwsgi_cheaper and "\ncheaper-algo " not in options
        self.pool = Pool(settings, limits) if grows else None
        self._loading: set[int] = set()
        self._workers: set[int] = set()
        self._loop = loop
        self._limits = limits
        self._options_file = self.path.with_suffix(".ini") if options else None
        if self._options_file:
            self._options_file.write_text(options)
        self._orders = self.path.with_suffix(".orders")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(limits.backlog)
        self._channel, self._workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        loop.watch(self._channel, self._on_message)
        # What its workers tell each other of pages that nginx keeps (worker/response_cache.py).
        self._pages = io.FileIO(os.memfd_create("docker-flask-pages"), "r+")

    def start(self, environment: Mapping[str, str], options: WorkerOptions) -> None:
        """Start the server, also again after one that died."""
        self._loading.clear()
        self._workers.clear()
        self.loaded = self.failure = ""
        inherited = (self._listener, self._workers_end, self._pages)
        listener, channel, pages = range(SOCKET_FD, SOCKET_FD + len(inherited))
        options = replace(options, listener_fd=listener, notify_fd=channel, cache_table_fd=pages)
        try:
            self.pid = process.spawn(
                self.server.command(self.settings, self._limits, self._options_file, self._orders),
                {**environment, **options.to_environment()},
                [kept.fileno() for kept in inherited],
            )
        except OSError as error:
            self.failure = f"{self.server.name} can't be started: {error.strerror}"
            return
        self.groups.append(self.pid)

    def ready(self, workers: int = 1) -> bool:
        """True once so many workers have loaded the application."""
        return len(self._workers) >= workers

    def settled(self, workers: int = 1) -> bool:
        """True once it is known how the start went."""
        if not self._workers and not self.failure:
            # One that ended before it could say why: os._exit, a crash, a kill.
            lost = [pid for pid in self._loading if not process.alive(pid)]
            if lost:
                self.failure = (
                    f"worker (pid {lost[0]}) ended while it loaded the application; "
                    "the lines above may say why"
                )
        return self.ready(workers) or bool(self.failure)

    def resize(self) -> None:
        """Have as many workers as the work needs."""
        if not self.pool or (
            self.pool.at_rest and not connections.anyone_waits(self._listener.fileno())
        ):
            return
        # With PRELOAD=1, it is the first process that loads.
        known = (self._workers | self._loading) - {self.pid}
        living = {pid for pid in known if process.alive(pid)}
        # Once one was ready, there is something to go on with, whoever fails.
        self._workers = self._workers & living or self._workers
        queued = connections.anyone_waits(self._listener.fileno())
        change = self.pool.change(living, self.requests(), queued)
        if change:
            self._order(change)

    def _order(self, change: int) -> None:
        """Order so many workers more, or fewer; lost if the server has died."""
        with contextlib.suppress(OSError):
            orders = os.open(self._orders, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(orders, (b"+" if change > 0 else b"-") * abs(change))
            finally:
                os.close(orders)

    def point(self, link: Path) -> None:
        """Let nginx connect here from now on: replace the link that it follows, in one step."""
        point(link, self.path.name)

    def requests(self) -> int:
        """Requests that wait here or are being served."""
        return connections.to_socket(self.path)

    def ended(self, status: int) -> str:
        """Note that the server's first process ended; returns that in words."""
        words = f"{self.server.name} (pid {self.pid}) {process.describe(status)}"
        self.pid = 0
        return words

    def stop(self, seconds: float) -> None:
        """End the server: politely, and after so many seconds by force."""
        if self.pid:
            process.signal_process(self.pid, self.server.stop_signal)
            # A master without workers has nothing left to do but to notice that.
            self._loop.wait(lambda: len(process.states(self.groups)) <= 1, seconds, tick=0.02)
        self.kill()

    def kill(self) -> None:
        """End the server and everything it started, at once, and give up the socket."""
        for group in self.groups:
            process.signal_group(group, signal.SIGKILL)
        self._loop.forget(self._channel)
        for kept in (self._channel, self._workers_end, self._listener, self._pages):
            kept.close()
        self.path.unlink(missing_ok=True)
        self._orders.unlink(missing_ok=True)
        if self._options_file:
            self._options_file.unlink(missing_ok=True)

    def _on_message(self) -> None:
        message = notify.receive(self._channel)
        if message is None:
            return
        pid = int(message["pid"])
        if message["state"] == "loading":
            self._loading.add(pid)
            return
        self._loading.discard(pid)
        if message["state"] == "ready":
            self._workers = {pid, *filter(process.alive, self._workers)}
            self.loaded = message["text"]
            if self.pool:
                self.pool.new = max(self.pool.new, message["memory"])
            self.static = StaticFiles(**message["static"]) if message["static"] else None
            self.static_words = message["static_words"]
        elif not self._workers:
            self.failure = message["text"]
