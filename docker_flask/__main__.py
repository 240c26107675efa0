"""The command line behind entry-point.sh: serve, debug, settings, reload."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from docker_flask import privileges, runtime_folder, sockets
from docker_flask.configuration import limits, settings
from docker_flask.configuration.kinds import EXIT_BAD_SETTING, SettingError
from docker_flask.log import log
from docker_flask.paths import DEBUG_PORT, OK

EXIT_FAULT = 1


def serve() -> int:
    """Production: bind the sockets as root, drop root, supervise."""
    resources = limits.read()
    chosen = settings.resolve(settings.read(os.environ), resources).settings
    limits.bound_descriptors(resources)
    listeners = _bind(chosen.listen_port)
    privileges.drop_privileges(*privileges.service_ids())
    # Imported after the sockets are bound: meanwhile, connections wait in the kernel's queue.
    from docker_flask.supervisor.log_relay import LogRelay
    from docker_flask.supervisor.supervisor import Supervisor

    relay = LogRelay()
    try:
        return Supervisor(resources, runtime_folder.make_folder(), listeners).run()
    except Exception:  # a bug here: the relay must write the traceback before this process ends
        sys.excepthook(*sys.exc_info())
        return EXIT_FAULT
    finally:
        relay.close()


def _bind(port: int) -> list[socket.socket]:
    """Bind the addresses of the user's nginx.conf, or the port on all addresses."""
    from docker_flask.configuration import nginx_files

    addresses = nginx_files.NginxFiles.read().addresses()
    try:
        return sockets.bind(sockets.everywhere(port) if addresses is None else addresses)
    except OSError as error:
        name = f"LISTEN_PORT={port}" if addresses is None else f"a port of {nginx_files.WHOLE}"
        raise SettingError(
            f"can't listen on {name}: {error.strerror}; "
            "use a free port, and a port above 1023 if the container has no privileges"
        ) from None


def debug() -> int:
    """Development: Flask's own server, which restarts at every edit."""
    from docker_flask.debug.supervisor import DebugServer

    resources = limits.read()
    chosen = settings.resolve(settings.read(os.environ), resources).settings
    # The owner of the folder then owns the files that the application writes, and can delete them.
    privileges.drop_privileges(*privileges.owner_ids(Path.cwd()))
    return DebugServer(DEBUG_PORT, chosen, resources).run()


def show_settings() -> int:
    """Print each setting, its value and its origin."""
    from docker_flask.configuration import plan

    rows = plan.make(os.environ, limits.read()).rows()
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    return 0


def reload() -> int:
    """Load the code in /app, and wait until the new generation serves or fails."""
    from docker_flask.supervisor import control

    folder = runtime_folder.find_folder()
    if not folder:
        log("nothing to reload: no production server runs here; debug mode reloads by itself")
        return 1
    chosen = settings.resolve(settings.read(os.environ), limits.read()).settings
    # Another reload may run, and this one starts after it.
    outcome = control.ask(folder, "reload", 2 * chosen.start_timeout + 10)
    log("reload: ok" if outcome == OK else outcome or "the container stopped during the reload")
    return 0 if outcome == OK else 1


COMMANDS: dict[str, Callable[[], int]] = {
    "serve": serve,
    "debug": debug,
    "settings": show_settings,
    "reload": reload,
}


def main() -> int:
    """Run the command from entry-point.sh."""
    try:
        return COMMANDS[sys.argv[1]]()
    except SettingError as error:
        log(str(error))
        return EXIT_BAD_SETTING
    except OSError as error:
        log(f"{sys.argv[1]}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
