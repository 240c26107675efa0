"""nginx as the supervisor runs it: one process on the container's sockets, for all generations."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docker_flask import connections, paths, process
from docker_flask.configuration import nginx_files
from docker_flask.configuration.plan import Plan
from docker_flask.first_process import sockets
from docker_flask.first_process.loop import Loop
from docker_flask.first_process.task import TICK, Steps, Until
from docker_flask.log import log
from docker_flask.nginx import runtime_links
from docker_flask.nginx.invocation import command, environment
from docker_flask.static_files import DEFAULT_URL, NOWHERE, StaticFiles

# The module that renders the configuration is imported where it is used: Jinja takes longer to
# load than everything else here, and the application server loads the application meanwhile.
if TYPE_CHECKING:
    from docker_flask.nginx.rendering import Configuration

# Seconds that nginx may take to end its old workers after a reload.
TAKEOVER = 2.0
# Seconds that an nginx that answers 503 to everything gets to end by itself.
QUIT = 2.0
# Cached pages may take the free disk divided by this.
CACHE_SHARE = 4


@dataclass(frozen=True)
class Frontend:
    """What an application server needs to know of nginx.

    sendfile_location: for files that nginx sends for the application; empty if the workers send
    them. cache_size: bytes of pages that nginx may keep.
    """

    sendfile_location: str = ""
    cache_size: int = 0


class Nginx:
    """The nginx of one container; pid: of its first process, 0 while there is none."""

    def __init__(self, loop: Loop, runtime: Path, listeners: list[socket.socket]) -> None:
        self.pid = 0
        disk = os.statvfs(runtime)
        self._disk = disk.f_bavail * disk.f_frsize
        # Names nginx's location for files: no client can guess it.
        self._secret = os.urandom(16).hex()
        self._loop = loop
        self._runtime = runtime
        self._listeners = listeners
        # nginx would let everybody write to a unix socket that it binds itself.
        self._health = sockets.listen_unix(str(runtime / paths.NGINX_SOCKET))
        self._ports = sockets.ports(listeners)
        # What the configuration says of static files, and what was tested and taken up last.
        self._static: StaticFiles | None = None
        self._configuration: Configuration | None = None
        self._environment: dict[str, str] = {}

    def frontend(self, plan: Plan) -> Frontend:
        """What the application servers of this plan need to know."""
        location = f"/{self._secret}" if plan.sends_files else ""
        return Frontend(location, plan.cache_size(self._disk // CACHE_SHARE))

    # --- its configuration --------------------------------------------------------------------

    def usual_static(self, plan: Plan) -> StaticFiles | None:
        """The static files that most applications have, before one is loaded."""
        settings = plan.settings
        if settings.static_url == "":
            return None
        return StaticFiles(settings.static_url or DEFAULT_URL, NOWHERE, settings.static_max_age)

    def link_static(self, static: StaticFiles | None, number: int) -> None:
        """Serve the static files of a generation from now on, and those of no other.

        number: of the generation.
        """
        try:
            runtime_links.link_static(self._runtime, static, number)
        except OSError as error:
            log(f"nginx can't serve the static files, so the application serves them: {error}")

    def prepare(
        self, plan: Plan, static: StaticFiles | None, tested: Configuration | None = None
    ) -> Configuration:
        """Render the configuration for a plan and let nginx test it; raises SettingError.

        static: of the application, or None; a location for files that are not there does no harm.
        tested: an earlier configuration for the same plan, which needs no second test if nothing
        has changed.
        """
        from docker_flask.nginx.rendering import Site, configure

        nginx_files.link_folder(self._runtime)
        self._static = static or self._static
        frontend = self.frontend(plan)
        site = Site(
            runtime=self._runtime,
            listen=sockets.addresses(self._listeners),
            static=self._static,
            sendfile_location=frontend.sendfile_location,
            cache_size=frontend.cache_size,
            disk=self._disk,
        )
        return configure(plan, site, self._descriptors(), tested)

    # --- its life -----------------------------------------------------------------------------

    def start(self, plan: Plan, configuration: Configuration) -> None:
        """Start with this configuration; replaces an nginx that answers 503."""
        if self.pid:
            self._quit()
        self._take_up(configuration)
        self._environment = dict(plan.environment)
        self._spawn()

    def answer_503(self, plan: Plan, configuration: Configuration) -> None:
        """Answer 503 until the application is loaded.

        An nginx with the user's own configuration can't, so clients wait in the kernel's queue.
        """
        from docker_flask.nginx.rendering import Site, render

        if configuration.is_whole:
            log("the application is still loading; clients wait until it is ready")
            return
        log("the application is still loading; clients get 503 until it is ready")
        site = Site(self._runtime, sockets.addresses(self._listeners), disk=self._disk)
        (self._runtime / "nginx.conf").write_text(render(plan, site, starting=True))
        self._environment = dict(plan.environment)
        self._spawn()

    def ended(self, status: int) -> str:
        """Note that the first process ended; returns that in words."""
        group, self.pid = self.pid, 0
        # Workers that outlived it answer what they have, and end.
        process.signal_group(group, signal.SIGQUIT)
        return f"nginx (pid {group}) {process.describe(status)}"

    def restart(self) -> None:
        """Start again after the first process died, with the configuration that it had."""
        self._spawn()

    def reload(self, plan: Plan, configuration: Configuration) -> Steps[None]:
        """Take up another configuration without losing a connection.

        Clients get DRAIN_DELAY to leave their connections.
        """
        if self._configuration and configuration.read == self._configuration.read:
            return
        self._take_up(configuration)
        # nginx closes idle connections when it reloads, so clients are told before to leave them.
        self.send_clients_away()
        yield Until(lambda: not self.clients(), plan.settings.drain_delay)
        old_workers = process.states([self.pid]).keys() - {self.pid}
        process.signal_process(self.pid, signal.SIGHUP)
        yield Until(lambda: not any(map(process.alive, old_workers)), TAKEOVER)
        (self._runtime / paths.DRAINING).unlink(missing_ok=True)

    def quit(self) -> None:
        """Tell nginx to answer the requests that it has, and to end."""
        process.signal_process(self.pid, signal.SIGQUIT)

    def kill(self) -> None:
        """End all its processes at once."""
        process.signal_group(self.pid, signal.SIGKILL)

    # --- clients and pages ----------------------------------------------------------------------

    def clients(self) -> int:
        """Connections that clients have open to the container's ports."""
        return sum(map(connections.to_port, self._ports))

    def send_clients_away(self) -> None:
        """Tell each client to open another connection for its next request.

        nginx looks for the first file only where the second exists, which workers create, too, and
        nobody removes.
        """
        (self._runtime / paths.DRAINING).touch()
        (self._runtime / paths.SHARING).touch()

    def forget_pages(self) -> None:
        """Serve none of the cached pages any more."""
        runtime_links.forget_pages(self._runtime)

    def _take_up(self, configuration: Configuration) -> None:
        """Let nginx start or reload with this configuration from now on."""
        self._configuration = configuration
        os.replace(configuration.file, self._runtime / "nginx.conf")

    def _spawn(self) -> None:
        first, descriptors = process.FIRST_DESCRIPTOR, self._descriptors()
        inherited = list(range(first, first + len(descriptors)))
        self.pid = process.spawn(
            command(self._runtime / "nginx.conf"),
            {**self._environment, **environment(inherited)},
            descriptors,
        )

    def _quit(self) -> None:
        """End the nginx that answers 503 and wait for it; new connections queue meanwhile.

        With a reload both would answer for a moment, so that a client could get 503 after 200.
        """
        pid, self.pid = self.pid, 0
        process.signal_process(pid, signal.SIGQUIT)
        self._loop.wait(lambda: not process.alive(pid), QUIT, tick=TICK)
        process.signal_group(pid, signal.SIGKILL)

    def _descriptors(self) -> list[int]:
        return [listener.fileno() for listener in (*self._listeners, self._health)]
