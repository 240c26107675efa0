"""nginx as the supervisor runs it: one process on the container's sockets, for all generations."""

import contextlib
import signal
import socket
from pathlib import Path

from docker_flask.plan.plan import Plan
from docker_flask.shared import paths, process, sockets
from docker_flask.shared.log import log
from docker_flask.shared.loop import Loop
from docker_flask.shared.runtime_folder import replace_symlink
from docker_flask.shared.static_files import StaticFiles
from docker_flask.supervisor import connections
from docker_flask.supervisor import nginx_workers as workers
from docker_flask.supervisor.nginx_configuration import Configuration, Configurations, environment
from docker_flask.supervisor.programs import Programs
from docker_flask.supervisor.task import TICK, Steps, Until

# Seconds that nginx may take to start new workers at a reload, for which it looks up host names;
# and then to end the old ones.
TAKE_UP, TAKEOVER = 20.0, 2.0
# Seconds that an nginx that answers 503 to everything gets to end by itself.
QUIT = 2.0


class Nginx:
    """The nginx of one container; pid: of its first process, 0 while there is none.

    orphans: the process groups of earlier first processes that died; their workers still serve.
    """

    def __init__(
        self,
        loop: Loop,
        programs: Programs,
        runtime: Path,
        listeners: list[socket.socket],
        traffic: int,
    ) -> None:
        self.pid = 0
        self.orphans: list[int] = []
        self._loop = loop
        self._runtime = runtime
        # nginx would let everybody write to a unix socket that it binds itself.
        self._health = sockets.listen_unix(str(runtime / paths.NGINX_SOCKET))
        self._ports = sockets.ports(listeners)
        self.configurations = Configurations(
            loop, programs, runtime, listeners, self._health, traffic
        )
        self._environment: dict[str, str] = {}
        self._shortage = workers.Shortage()

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
        return self.configurations.taken_up.certificate

    # --- its life -----------------------------------------------------------------------------

    def start(self, plan: Plan, configuration: Configuration) -> None:
        """Start with this configuration; replaces an nginx that answers 503."""
        self._quit_orphans()
        if self.pid:
            self._quit()
        self.configurations.take_up(configuration)
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
        self.configurations.write_starting(plan, certificate)
        self._environment = dict(plan.environment)
        self.restart()

    def ended(self, status: int) -> str:
        """Note that the first process ended; returns that in words."""
        group, self.pid = self.pid, 0
        self.orphans.append(group)
        return f"nginx (pid {group}) {process.describe(status)}"

    def restart(self) -> None:
        """Start with the configuration that the file has, also after the first process died."""
        configurations = self.configurations
        inherited = configurations.descriptors()
        self._shortage.begin()
        self.pid = process.spawn(
            configurations.command(configurations.file),
            {**self._environment, **environment(inherited)},
            inherited,
        )

    def workers(self) -> set[int]:
        """The processes that accept connections."""
        return workers.serving(self.pid)

    def lacks_workers(self) -> bool:
        """True if there is no such process, and nginx has not just started."""
        return not self.workers() and not self._shortage.is_new()

    def mend(self) -> bool:
        """Returns True if nginx has no worker, and has to be restarted. Call this often."""
        if not self._shortage.needs_help(self.pid, bool(self.workers())):
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
            if configuration.read == self.configurations.taken_up.read:
                return
            self.configurations.take_up(configuration)
        # A worker that ends closes idle connections, so clients get DRAIN_DELAY to leave them.
        self.send_clients_away()
        try:
            yield Until(lambda: not self.clients(), plan.settings.drain_delay)
            replaced = [*self.orphans, self.pid] if configuration else list(self.orphans)
            old_workers = process.states(replaced).keys() - {self.pid}
            if configuration:  # an nginx that has just started again would die of the signal
                process.signal_process(self.pid, signal.SIGHUP)
                self._shortage.begin()
            self._quit_orphans()
            if configuration:
                yield Until(lambda: bool(self.workers() - old_workers), TAKE_UP)
                if not self.workers() - old_workers:
                    # The next reload, or look at the certificate, tries again.
                    tried = configuration._replace(read="", certificate=None)
                    self.configurations.taken_up = tried
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

    # --- clients --------------------------------------------------------------------------------

    def clients(self) -> int:
        """Connections that clients have open to the container's ports."""
        return sum(map(connections.to_port, self._ports))

    def send_clients_away(self, *more: str) -> None:
        """Tell each client to open another connection for its next request.

        A disk without room stops neither a stop nor a reload. more: further files.
        """
        with contextlib.suppress(OSError):
            for name in (*more, paths.DRAINING):
                (self._runtime / name).touch()

    def show_readiness(self, is_ready: bool) -> None:
        """Let HEALTH_PATH answer 200 or 503."""
        file = self._runtime / paths.NOT_READY
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True) if is_ready else file.touch()

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
