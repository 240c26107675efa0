"""The command line behind entry-point.sh: serve, debug, settings, reload."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from docker_flask import privileges, runtime_folder, sockets
from docker_flask.configuration import limits, settings
from docker_flask.log import log
from docker_flask.paths import DEBUG_PORT, OK

EXIT_FAULT = 1


def serve() -> int:
    """Production: bind as root, leave root, supervise."""
    resources = limits.read()
    chosen = settings.load(os.environ, resources)
    limits.bound_descriptors(resources)
    listeners = _bind(chosen.listen_port)
    privileges.become(*privileges.service_ids())
    # After the sockets are bound: from then on no client is refused.
    from docker_flask.supervisor.log_relay import Relay
    from docker_flask.supervisor.supervisor import Supervisor

    relay = Relay()
    try:
        return Supervisor(chosen, resources, runtime_folder.make_folder(), listeners).run()
    except Exception:  # a fault of ours; the relay must pass it on before this process ends
        traceback.print_exc()
        return EXIT_FAULT
    finally:
        relay.close()


def _bind(port: int) -> list[socket.socket]:
    """The sockets that clients connect to: as the user's nginx.conf has them, or on a port."""
    from docker_flask.configuration import nginx_files

    places = nginx_files.NginxFiles.read().addresses()
    try:
        return sockets.bind(sockets.everywhere(port) if places is None else places)
    except OSError as error:
        name = f"LISTEN_PORT={port}" if places is None else f"listen in {nginx_files.WHOLE}"
        raise settings.SettingError(
            f"{name} can't be used: {error.strerror}; "
            "allowed is a free port, above 1023 for a container without privileges"
        ) from None


def debug() -> int:
    """Development: Flask's own server, restarted at every edit."""
    from docker_flask.debug.supervisor import DebugServer

    resources = limits.read()
    chosen = settings.load(os.environ, resources)
    # What the application writes into the folder, uploads and databases, belongs to whom the
    # folder belongs, who can edit and delete it then; to root, if the folder is root's.
    privileges.become(*privileges.owner_ids(Path.cwd()))
    return DebugServer(DEBUG_PORT, chosen, resources).run()


def show_settings() -> int:
    """Print each setting, its value and where that came from."""
    from docker_flask.servers import registry

    resources = limits.read()
    wishes = registry.wishes(os.environ, resources)
    rows = settings.explain(os.environ, resources, wishes.said)
    if not wishes.settings.threads:
        threads = f"1 to {registry.most_threads(wishes.settings, resources)}"
        rows = [(name, threads if name == "THREADS" else text, by) for name, text, by in rows]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")
    return 0


def reload() -> int:
    """Put the code that lies in /app now into service; waits until it serves, or says why not."""
    from docker_flask.supervisor import control

    folder = runtime_folder.find_folder()
    if not folder:
        log("nothing to reload: no production server runs here (debug mode reloads by itself)")
        return 1
    chosen = settings.load(os.environ, limits.read())
    answer = control.ask(folder, "reload", 2 * chosen.start_timeout + 10)
    log(f"reload: {answer or 'the container stopped meanwhile'}")
    return 0 if answer == OK else 1


COMMANDS: dict[str, Callable[[], int]] = {
    "serve": serve,
    "debug": debug,
    "settings": show_settings,
    "reload": reload,
}


def main() -> int:
    """Run the command that entry-point.sh named."""
    try:
        return COMMANDS[sys.argv[1]]()
    except settings.SettingError as error:
        log(str(error))
        return settings.EXIT_BAD_SETTING
    except OSError as error:
        log(f"{sys.argv[1]}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
