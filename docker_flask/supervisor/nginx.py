"""nginx as the supervisor runs it: one process on the container's sockets, for all generations."""

import contextlib
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any, NamedTuple

from docker_flask.plan import nginx_files, rendering
from docker_flask.plan.plan import Plan
from docker_flask.plan.rendering import PARAMETERS, Frontend, Listen
from docker_flask.shared import connections, paths, process, sockets
from docker_flask.shared.log import log
from docker_flask.shared.loop import Loop
from docker_flask.shared.programs import Programs
from docker_flask.shared.runtime_folder import replace_symlink
from docker_flask.shared.setting_error import SettingError
from docker_flask.shared.static_files import StaticFiles
from docker_flask.shared.task import TICK, Steps, Until
from docker_flask.supervisor import nginx_workers as workers

# Seconds that nginx may take to start new workers at a reload, for which it looks up host names;
# and then to end the old ones.
TAKE_UP, TAKEOVER = 20.0, 2.0
# Seconds that an nginx that answers 503 to everything gets to end by itself.
QUIT = 2.0
# What the application learns about a request, for `include uwsgi_params;` in the user's files.
_PARAMETERS = "uwsgi_params"


class Configuration(NamedTuple):
    """A configuration that nginx has tested.

    text: of the file. read: the text with all files that it includes. notes: what the user should
    know about it. workers: number of worker processes, at least. certificate: the folder of the
    certificate; None while there is none.
    """

    text: str
    read: str
    notes: list[str]
    workers: int = 1
    certificate: Path | None = None


class Nginx:
    """The nginx of one container; pid: of its first process, 0 while there is none.

    orphans: the process groups of earlier first processes that died; their workers still serve.
    """

    def __init__(
        self, loop: Loop, programs: Programs, runtime: Path, listeners: list[socket.socket]
    ) -> None:
        self.pid = 0
        self.orphans: list[int] = []
        disk = os.statvfs(runtime)
        self._disk = disk.f_bavail * disk.f_frsize
        # Names nginx's location for files: no client can guess it.
        self._secret = os.urandom(16).hex()
        self._loop = loop
        self._programs = programs
        self._runtime = runtime
        # The next files are in a folder of their own, in which nginx tests them.
        self._file, self._next = runtime / "nginx.conf", runtime / "next/nginx.conf"
        self._listeners = listeners
        # nginx would let everybody write to a unix socket that it binds itself.
        self._health = sockets.listen_unix(str(runtime / paths.NGINX_SOCKET))
        self._ports = sockets.ports(listeners)
        # What the configuration says of static files, and what was tested and taken up last.
        self._static: StaticFiles | None = None
        self._configuration: Configuration | None = None
        self._environment: dict[str, str] = {}
        self._shortage = workers.Shortage()

    def frontend(self, plan: Plan) -> Frontend:
        """What the application servers of this plan need to know."""
        return rendering.frontend(plan, self._disk, self._secret)

    # --- its configuration --------------------------------------------------------------------

    def link_static(self, static: StaticFiles | None, number: int) -> None:
        """Serve the static files of a generation from now on, and no others.

        nginx finds the files below `static`, by the path of their URL. number: of the generation.
        All links change in one step.
        """
        current = self._runtime / "static"
        before = current.resolve() if current.is_symlink() else None
        folder = self._runtime / f"static{number}"
        try:
            folder.mkdir()
            if static:
                link = folder / static.url.lstrip("/")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(static.folder)
            replace_symlink(current, folder.name)
            if before:
                import shutil  # slow to import, and a start has nothing to remove

                shutil.rmtree(before)
        except OSError as error:
            log(f"nginx can't serve the static files, so the application serves them: {error}")

    @property
    def certificate(self) -> Path | None:
        """The folder of the certificate that was taken up last."""
        return self._configuration.certificate if self._configuration else None

    def prepare(
        self,
        plan: Plan,
        static: StaticFiles | None,
        certificate: Path | None,
        tested: Configuration | None = None,
    ) -> Steps[Configuration]:
        """Make the configuration for a plan and let nginx test it; raises SettingError, OSError.

        Changes no file that nginx reads if it starts again after a crash. static: of the
        application, or None: then of an earlier one, or as most applications have it. tested: an
        earlier configuration for the same plan, which needs no second test if nothing has changed.
        """
        settings, files = plan.settings, plan.nginx_files
        self._static = static or self._static or rendering.usual_static(settings)
        text, notes = rendering.configuration(*self._decided(plan, certificate), self._static)
        if tested and tested.text == text:
            return tested
        self._next.parent.mkdir(exist_ok=True)
        parameters = self._next.with_name(_PARAMETERS)
        parameters.unlink(missing_ok=True)
        if files.whole is None:
            parameters.write_text(self._render(plan, certificate, name=PARAMETERS))
        for folder in (self._runtime, self._next.parent):
            nginx_files.link_folder(folder)
        self._next.write_bytes(text.encode(errors="surrogateescape"))
        named = self._file if files.whole is None else nginx_files.WHOLE
        read, warnings = yield from self._test(named, settings.start_timeout)
        if str(nginx_files.USUAL_SOCKET) in read:
            nginx_files.link_socket(self._runtime / "app.sock")
        # A whole configuration may have more workers.
        count = 1 if files.whole is not None else plan.sizing.nginx_workers
        return Configuration(text, read, notes + warnings, count, certificate)

    def _decided(
        self, plan: Plan, certificate: Path | None
    ) -> tuple[Plan, Path, Listen, int, Frontend]:
        """What decides the configuration, beside the static files."""
        addresses = sockets.addresses(self._listeners)
        listen = rendering.listen_on(addresses, plan.tls_port, certificate)
        return plan, self._runtime, listen, self._disk, self.frontend(plan)

    def _render(self, plan: Plan, certificate: Path | None, **more: Any) -> str:
        return rendering.render(*self._decided(plan, certificate), self._static, **more)

    def _test(self, named: Path, seconds: float) -> Steps[tuple[str, list[str]]]:
        """Let nginx test the next configuration; returns all text that it read, and its warnings.

        named: the file in nginx's messages. Raises SettingError.
        """
        command, descriptors = [*self._command(self._next), "-T", "-q"], self._descriptors()
        environment = _environment(len(descriptors))
        try:
            result = yield from self._programs.run(command, environment, seconds, descriptors)
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

    # --- its life -----------------------------------------------------------------------------

    def start(self, plan: Plan, configuration: Configuration) -> None:
        """Start with this configuration; replaces an nginx that answers 503."""
        self._quit_orphans()
        if self.pid:
            self._quit()
        self._take_up(configuration)
        self._environment = dict(plan.environment)
        self.restart()

    def answer_503(self, plan: Plan, certificate: Path | None) -> None:
        """Answer 503 until the application is loaded.

        An nginx with the user's own configuration can't, so clients wait in the kernel's queue.
        """
        if plan.nginx_files.whole is not None:
            log("the application is still loading; clients wait until it is ready")
            return
        log("the application is still loading; clients get 503 until it is ready")
        self._file.write_text(self._render(plan, certificate, starting=True))
        self._environment = dict(plan.environment)
        self.restart()

    def ended(self, status: int) -> str:
        """Note that the first process ended; returns that in words."""
        group, self.pid = self.pid, 0
        self.orphans.append(group)
        return f"nginx (pid {group}) {process.describe(status)}"

    def restart(self) -> None:
        """Start with the configuration that the file has, also after the first process died."""
        descriptors = self._descriptors()
        self._shortage.begin(self._configuration.workers if self._configuration else 0)
        self.pid = process.spawn(
            self._command(self._file),
            {**self._environment, **_environment(len(descriptors))},
            descriptors,
        )

    def workers(self) -> set[int]:
        """The processes that accept connections."""
        return workers.serving(self.pid)

    def lacks_workers(self) -> bool:
        """True if there is no such process, and nginx has not just started."""
        return not self.workers() and not self._shortage.is_new()

    def mend(self) -> bool:
        """Start missing workers; returns True if nginx has to be restarted. Call this often."""
        count = len(self.workers())
        if not self._shortage.needs_help(self.pid, count):
            return False
        if count:
            process.signal_process(self.pid, signal.SIGHUP)
            return False
        # After a fork that failed, nginx closes descriptors of its own that it still needs.
        process.signal_process(self.pid, signal.SIGKILL)
        self.orphans.append(self.pid)
        self.pid = 0
        return True

    def reload(self, plan: Plan, configuration: Configuration | None) -> Steps[None]:
        """Take up another configuration, if not None, and end the orphans; loses no connection.

        Raises OSError if nginx keeps the configuration that it has.
        """
        if configuration:
            if self._configuration and configuration.read == self._configuration.read:
                return
            self._take_up(configuration)
        # A worker that ends closes idle connections, so clients get DRAIN_DELAY to leave them.
        self.send_clients_away()
        try:
            yield Until(lambda: not self.clients(), plan.settings.drain_delay)
            replaced = [*self.orphans, self.pid] if configuration else list(self.orphans)
            old_workers = process.states(replaced).keys() - {self.pid}
            if configuration:  # an nginx that has just started again would die of the signal
                process.signal_process(self.pid, signal.SIGHUP)
                self._shortage.begin(configuration.workers)
            self._quit_orphans()
            if configuration:
                yield Until(lambda: bool(self.workers() - old_workers), TAKE_UP)
                if not self.workers() - old_workers:
                    # The next reload, or look at the certificate, tries again.
                    self._configuration = configuration._replace(read="", certificate=None)
                    raise OSError("nginx started no worker with it; its lines above may say why")
            yield Until(lambda: not any(map(process.alive, old_workers)), TAKEOVER)
        finally:
            (self._runtime / paths.DRAINING).unlink(missing_ok=True)

    def quit(self) -> None:
        """Tell nginx to answer the requests that it has, and to end."""
        process.signal_process(self.pid, signal.SIGQUIT)
        self._quit_orphans()

    def kill(self) -> None:
        """End all its processes at once."""
        process.signal_group(self.pid, signal.SIGKILL)

    # --- clients and pages ----------------------------------------------------------------------

    def clients(self) -> int:
        """Connections that clients have open to the container's ports."""
        return sum(map(connections.to_port, self._ports))

    def send_clients_away(self, *more: str) -> None:
        """Tell each client to open another connection for its next request.

        nginx looks for the first file only where the second exists, which workers create, too, and
        nobody removes. A disk without room stops neither a stop nor a reload. more: further files.
        """
        with contextlib.suppress(OSError):
            for name in (*more, paths.DRAINING, paths.SHARING):
                (self._runtime / name).touch()

    def show_readiness(self, is_ready: bool) -> None:
        """Let HEALTH_PATH answer 200 or 503."""
        file = self._runtime / paths.NOT_READY
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True) if is_ready else file.touch()

    def forget_pages(self) -> None:
        """Serve none of the cached pages any more.

        This overwrites the first bytes of each file, where nginx keeps the version of its format:
        nginx replaces a file with an unknown version. For a file that is removed, it would log an
        error.
        """
        for page in (self._runtime / "cache").glob("*"):
            with contextlib.suppress(OSError), page.open("r+b") as file:
                file.write(bytes(8))

    def _take_up(self, configuration: Configuration) -> None:
        """Let nginx start or reload with this configuration from now on."""
        with contextlib.suppress(FileNotFoundError):  # not in every /etc/nginx
            os.replace(self._next.with_name(_PARAMETERS), self._file.with_name(_PARAMETERS))
        os.replace(self._next, self._file)
        self._configuration = configuration

    def _quit(self) -> None:
        """End the nginx that answers 503 and wait for it; new connections queue meanwhile.

        With a reload both would answer for a moment, so that a client could get 503 after 200.
        """
        pid, self.pid = self.pid, 0
        process.signal_process(pid, signal.SIGQUIT)
        self._loop.wait(lambda: not process.alive(pid), QUIT, tick=TICK)
        process.signal_group(pid, signal.SIGKILL)

    def _quit_orphans(self) -> None:
        while self.orphans:
            process.signal_group(self.orphans.pop(), signal.SIGQUIT)

    def _command(self, configuration: Path) -> list[str]:
        """The command line that runs nginx in the foreground."""
        folder, file = str(self._runtime), str(configuration)
        return ["/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", file]

    def _descriptors(self) -> list[int]:
        return [listener.fileno() for listener in (*self._listeners, self._health)]


def _environment(sockets: int) -> dict[str, str]:
    """The variable with which nginx uses this number of the supervisor's listening sockets.

    NGINX is nginx's own, for an upgrade of its program:
    https://nginx.org/en/docs/control.html#upgrade.
    """
    first = process.FIRST_DESCRIPTOR
    return {"NGINX": "".join(f"{descriptor};" for descriptor in range(first, first + sockets))}
