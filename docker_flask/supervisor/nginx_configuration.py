"""nginx's configuration: made for a plan, tested by nginx, and put where nginx reads it."""

import contextlib
import os
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from docker_flask.plan import nginx_files, rendering
from docker_flask.plan.plan import Plan
from docker_flask.plan.rendering import PARAMETERS, Listen
from docker_flask.shared import no_room, process, sockets
from docker_flask.shared.loop import Loop
from docker_flask.shared.setting_error import SettingError
from docker_flask.shared.static_files import StaticFiles
from docker_flask.supervisor.programs import Programs
from docker_flask.supervisor.task import FILES_TIMEOUT, Steps, in_thread

# What the application learns about a request, for `include uwsgi_params;` in the user's files.
_PARAMETERS = "uwsgi_params"


class Configuration(NamedTuple):
    """A configuration that nginx has tested.

    text: of the file. read: the text with all files that it includes. notes: what the user should
    know about it. certificate: the folder of the certificate; None while there is none.
    """

    text: str
    read: str
    notes: list[str]
    certificate: Path | None = None


class Configurations:
    """Makes one configuration after the other.

    taken_up: the one that nginx was told to use last, empty before the first. file: what nginx
    reads.
    """

    def __init__(
        self,
        loop: Loop,
        programs: Programs,
        runtime: Path,
        listeners: list[socket.socket],
        health: socket.socket,
        traffic: int,
    ) -> None:
        self.taken_up = Configuration("", "", [])
        # The next files are in a folder of their own, in which nginx tests them.
        self.file, self._next = runtime / "nginx.conf", runtime / "next/nginx.conf"
        disk = os.statvfs(runtime)
        self._disk = disk.f_bavail * disk.f_frsize
        # Names nginx's location for files: no client can guess it.
        self._secret = os.urandom(16).hex()
        self._loop = loop
        self._programs = programs
        self._runtime = runtime
        self._listeners, self._health, self._traffic = listeners, health, traffic
        # What the configuration says of static files.
        self._static: StaticFiles | None = None

    def sendfile_location(self, plan: Plan) -> str:
        """nginx's location for files, for the workers of this plan; empty for none."""
        return rendering.sendfile_location(plan, self._secret)

    def prepare(
        self,
        plan: Plan,
        static: StaticFiles | None,
        certificate: Path | None,
        tested: Configuration | None = None,
    ) -> Steps[Configuration]:
        """Make the configuration for a plan and let nginx test it; raises SettingError, OSError.

        Changes no file that nginx reads if it starts again after a crash. static: of the
        application, or None: then of an earlier one, or as most applications have it. A location
        for files that are not there does no harm. tested: an earlier configuration for the same
        plan, which needs no second test if nothing has changed.
        """
        settings, files = plan.settings, plan.nginx_files
        notes: list[str] = []
        if static:
            self._static, notes = yield from self._look_at(static)
        self._static = self._static or rendering.usual_static(settings)
        text, more = rendering.configuration(*self._decided(plan, certificate), self._static)
        notes += more
        if tested and tested.text == text:
            return tested
        self._next.parent.mkdir(exist_ok=True)
        parameters = self._next.with_name(_PARAMETERS)
        parameters.unlink(missing_ok=True)
        if files.whole is None:
            no_room.write(parameters, self._render(plan, certificate, name=PARAMETERS).encode())
        for folder in (self._runtime, self._next.parent):
            nginx_files.link_folder(folder)
        no_room.write(self._next, text.encode(errors="surrogateescape"))
        named = self.file if files.whole is None else nginx_files.WHOLE
        read, warnings = yield from self._test(named, settings.start_timeout)
        if str(nginx_files.USUAL_SOCKET) in read:
            nginx_files.link_socket(self._runtime / "app.sock")
        return Configuration(text, read, notes + warnings, certificate)

    def _look_at(self, static: StaticFiles) -> Steps[tuple[StaticFiles, list[str]]]:
        """Look through the folder, and note it if that takes too long."""
        try:
            return (yield from in_thread(self._loop, static.looked_at, FILES_TIMEOUT)), []
        except TimeoutError:
            note = (
                f"looking through {static.folder} takes more than {FILES_TIMEOUT:g} seconds, so "
                "nginx follows no links there, and keeps no files open"
            )
            return replace(static, may_change=True), [note]

    def _decided(self, plan: Plan, certificate: Path | None) -> tuple[Plan, Path, Listen, int, str]:
        """What decides the configuration, beside the static files."""
        addresses = sockets.addresses(self._listeners)
        listen = rendering.listen_on(addresses, plan.tls_port, certificate)
        return plan, self._runtime, listen, self._disk, self.sendfile_location(plan)

    def _render(self, plan: Plan, certificate: Path | None, **more: Any) -> str:
        return rendering.render(*self._decided(plan, certificate), self._static, **more)

    def _test(self, named: Path, seconds: float) -> Steps[tuple[str, list[str]]]:
        """Let nginx test the next configuration; returns all text that it read, and its warnings.

        named: the file in nginx's messages. Raises SettingError.
        """
        command = [*self.command(self._next), "-T", "-q"]
        inherited = self.descriptors()
        try:
            result = yield from self._programs.run(
                command, environment(inherited), seconds, inherited
            )
        except TimeoutError:
            raise SettingError(
                f"nginx did not test its configuration within START_TIMEOUT={seconds:g} seconds; "
                "perhaps a host name in it can't be resolved"
            ) from None
        output = result.errors.replace(str(self._next), str(named))
        if result.code:
            reason = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*)", output)
            words = reason[1] if reason else " ".join(output.split())
            raise SettingError(f"nginx rejects its configuration: {words}")
        warnings = re.findall(r"\[warn\] (?:\d+#\d+: )?(.*)", output)
        return result.out, [f"nginx warning: {warning}" for warning in warnings]

    def write_starting(self, plan: Plan, certificate: Path | None) -> None:
        """Let nginx answer 503 until there is a configuration for the application."""
        no_room.write(self.file, self._render(plan, certificate, starting=True).encode())

    def take_up(self, configuration: Configuration) -> None:
        """Let nginx start or reload with this configuration from now on."""
        with contextlib.suppress(FileNotFoundError):  # not in every /etc/nginx
            os.replace(self._next.with_name(_PARAMETERS), self.file.with_name(_PARAMETERS))
        os.replace(self._next, self.file)
        self.taken_up = configuration

    def command(self, configuration: Path) -> list[str]:
        """The command line that runs nginx in the foreground."""
        folder, file = str(self._runtime), str(configuration)
        return ["/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", file]

    def descriptors(self) -> list[int]:
        """What nginx inherits: the pipe of its second access log (/dev/fd/3), listening sockets."""
        listeners = (*self._listeners, self._health)
        return [self._traffic, *(listener.fileno() for listener in listeners)]


def environment(inherited: list[int]) -> dict[str, str]:
    """The variable with which nginx uses the listening sockets that it inherits.

    NGINX is nginx's own, for an upgrade of its program:
    https://nginx.org/en/docs/control.html#upgrade.
    """
    first = process.FIRST_DESCRIPTOR
    sockets_only = range(first + 1, first + len(inherited))
    return {"NGINX": "".join(f"{descriptor};" for descriptor in sockets_only)}
