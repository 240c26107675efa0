"""The command line behind entry-point.sh: serve, debug, settings, nginx-config, reload."""

import _thread
import itertools
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from docker_flask.plan import limits, settings
from docker_flask.servers.gunicorn.options import Program
from docker_flask.shared import control, drop_privileges, runtime_folder, sockets
from docker_flask.shared.log import log
from docker_flask.shared.paths import OK
from docker_flask.shared.process import Output
from docker_flask.shared.setting_error import SettingError

if TYPE_CHECKING:
    from docker_flask.plan.plan import Plan

EXIT_FAULT = 1
EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h
# Seconds for the supervisor's response; of a reload, START_TIMEOUT decides when it fails.
CONTROL_TIMEOUT, RELOAD_TIMEOUT = 10.0, 3 * 3600.0
# The log, if a disk is full, or memory runs out.
CANT_RUN, NO_MEMORY = "the container can't run: ", "no memory is left; raise the limit (-m)"

T = TypeVar("T")


def serve() -> int:
    """Production: bind the sockets, give up the right to it, supervise."""
    if problem := drop_privileges.why_not_readable(Path.cwd()):
        log(problem)
        return drop_privileges.EXIT_NOT_READABLE
    resources = limits.read()
    early = settings.read_early(os.environ)
    ports, _ = settings.resolve(early, resources)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resources.descriptors, resources.descriptors))
    listeners = _bind_main(ports)
    status = _bind_status(ports.status_port, "status_port" in early)
    drop_privileges.give_up_ports()
    if not ports.bind_when_ready:
        sockets.listen(listeners)
    # Imported after the sockets are bound: meanwhile, connections wait in the kernel's queue.
    from docker_flask.supervisor.log_relay import LogRelay
    from docker_flask.supervisor.service import Service
    from docker_flask.supervisor.supervisor import Supervisor

    relay = _with_thread(LogRelay)
    try:
        with runtime_folder.open_folder() as folder:
            service = Service(resources, folder, listeners, early)
            return Supervisor(service, status, relay).run()
    except drop_privileges.NotPermitted as missing:
        log(str(missing))
        return missing.code
    except (OSError, MemoryError) as error:  # a full disk, for example
        log(f"{CANT_RUN}{str(error) or NO_MEMORY}")
        return EXIT_NOT_SERVING
    except Exception:  # a bug here: the relay must write the traceback before this process ends
        sys.excepthook(*sys.exc_info())
        return EXIT_FAULT
    finally:
        relay.close()


def _bind(name: str, addresses: list[tuple[str, int]]) -> list[socket.socket]:
    try:
        return sockets.bind(addresses)
    except OSError as error:
        refused = isinstance(error, PermissionError)
        raise (drop_privileges.NotPermitted if refused else SettingError)(
            f"can't listen on {name}: {error.strerror}; use a free port above 1023"
        ) from None


def _bind_main(ports: settings.Settings) -> list[socket.socket]:
    """Bind the addresses of the user's nginx.conf, or the ports on all addresses."""
    from docker_flask.plan import nginx_files

    addresses = nginx_files.addresses()
    if addresses is not None:
        return _bind(f"a port of {nginx_files.WHOLE}", addresses)
    named = {"LISTEN_PORT": ports.listen_port}
    if ports.has_tls:
        named["TLS_PORT"] = ports.tls_port
    taken = {ports.status_port: "STATUS_PORT"}
    for name, port in named.items():
        if port in taken:
            raise SettingError(f"{name}={port} is also {taken[port]}; use another port")
        taken[port] = name
    bound = (_bind(f"{name}={port}", sockets.everywhere(port)) for name, port in named.items())
    return list(itertools.chain.from_iterable(bound))


def _bind_status(port: int, is_chosen: bool) -> list[socket.socket]:
    """Listen on the status port, or do without it if nobody has chosen it."""
    try:
        listeners = _bind(f"STATUS_PORT={port}", sockets.everywhere(port)) if port else []
        sockets.listen(listeners)
    except (SettingError, drop_privileges.NotPermitted, OSError) as error:
        if is_chosen:
            raise
        log(f"{error}, or STATUS_PORT=off; there is no status port")
        return []
    return listeners


def debug() -> int:
    """Development: Flask's own server, which restarts at every edit."""
    from docker_flask.debug.reloader import Reloader

    resources = limits.read()
    with runtime_folder.open_folder() as runtime:
        return Reloader(resources, runtime).run()


def show_settings() -> int:
    """Print each setting, its value and its origin; of the server that runs here, if any."""
    if folder := runtime_folder.running_server():
        rows = control.ask_json(folder, "settings", CONTROL_TIMEOUT)
        if not rows:
            log("the settings are read after prestart.sh, which is still running")
            return EXIT_FAULT
    else:
        rows = _plan().rows()
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        print(control.printable(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}"))
    return 0


def _plan() -> "Plan":
    """The plan of a container that would start now."""
    from docker_flask.plan import plan

    resources = limits.read()
    output = _run(plan.program(os.environ, resources))
    return plan.make(os.environ, resources, output=output)


def _run(program: Program | None) -> Output | None:
    """The output of a program, if there is one; raises SettingError if it takes too long."""
    import subprocess  # slow to import, and most applications have no gunicorn.conf.py

    if not program:
        return None
    command, environment, seconds = program
    try:
        ended = subprocess.run(
            command,
            env=environment,
            timeout=seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise program.late() from None
    return Output(ended.returncode, ended.stdout, ended.stderr)


def show_nginx_config() -> int:
    """Print nginx's configuration: of the server that runs here, if any."""
    from docker_flask.cli import nginx_config

    folder = runtime_folder.running_server()
    try:
        text = nginx_config.of_server(folder) if folder else nginx_config.of_plan(_plan())
    except FileNotFoundError:
        log("nginx has no configuration yet: the application is still loading")
        return EXIT_FAULT
    print(control.printable(text.expandtabs()), end="")
    return 0


def reload() -> int:
    """Load the code in /app, and wait until the new generation serves or fails."""
    folder = runtime_folder.running_server()
    if not folder:
        log(
            f"nothing to reload: no production server runs here as uid {os.geteuid()}; "
            "debug mode reloads by itself"
        )
        return 1
    outcome = control.ask(folder, "reload", RELOAD_TIMEOUT)
    log("reload: ok" if outcome == OK else outcome or "the container stopped during the reload")
    return 0 if outcome == OK else 1


# Each command, and its user if root starts it.
COMMANDS: dict[str, tuple[Callable[[], int], str]] = {
    "serve": (serve, "service"),
    "debug": (debug, "owner"),
    "settings": (show_settings, "running"),
    "nginx-config": (show_nginx_config, "running"),
    "reload": (reload, "running"),
}


def _with_thread(start: Callable[[], T]) -> T:
    """Start a thread; raises NotPermitted if none can start: old engines refuse libc's clone3."""
    try:
        return start()
    except RuntimeError:
        raise drop_privileges.NotPermitted(
            "can't start new thread: use Docker 20.10.10 or newer, or a higher --pids-limit"
        ) from None


def main() -> int:
    """Run the command from entry-point.sh."""
    name = sys.argv[1]
    command, user = COMMANDS[name]
    try:
        drop_privileges.drop(user, keep_ports=name == "serve")
        _with_thread(lambda: _thread.start_new_thread(int, ()))
        return command()
    except (SettingError, drop_privileges.NotPermitted) as error:
        log(str(error))
        return error.code
    except (OSError, MemoryError) as error:
        is_mode = user != "running"
        log(f"{CANT_RUN if is_mode else f'{name}: '}{str(error) or NO_MEMORY}")
        return EXIT_NOT_SERVING if is_mode else EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
