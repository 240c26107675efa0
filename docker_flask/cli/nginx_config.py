"""The command `docker-flask nginx-config`: nginx's configuration, for people."""

import os
from pathlib import Path

from docker_flask.cli import settings
from docker_flask.plan import rendering
from docker_flask.plan.plan import Plan
from docker_flask.shared import control, paths, runtime_folder, sockets
from docker_flask.shared.log import log


def main() -> int:
    """Print the configuration: of the server that runs here, if any."""
    folder = runtime_folder.running_server()
    try:
        text = of_server(folder) if folder else of_plan(settings.decide())
    except FileNotFoundError:
        log("nginx has no configuration yet: the application is still loading")
        return 1
    print(control.printable(text.expandtabs()), end="")
    return 0


def of_server(folder: Path) -> str:
    """The file of the server with this folder; raises OSError, also while nginx has not started."""
    return (folder / rendering.MAIN).read_text(errors="replace")


def of_plan(plan: Plan) -> str:
    """The same for a container that would start now.

    Only its start finds some values: static files, certificate, size of the disk, random names.
    """
    runtime, chosen = Path(paths.IMAGE_FOLDER), plan.settings
    disk = os.statvfs(runtime)
    room = disk.f_bavail * disk.f_frsize
    ports = [chosen.listen_port, *([plan.tls_port] if plan.tls_port else [])]
    addresses = [sockets.written(*each) for port in ports for each in sockets.everywhere(port)]
    certificate = runtime / "tls1" if chosen.has_tls and not chosen.tls_domain else None
    listen = rendering.listen_on(addresses, plan.tls_port, certificate)
    sendfile = rendering.sendfile_location(plan, "RANDOM")
    static = rendering.usual_static(chosen)
    return rendering.configuration(plan, runtime, listen, room, sendfile, static)[0]
