"""Production, from its first line to its exit code."""

import atexit
import itertools
import os
import resource
import socket
from pathlib import Path

from docker_flask.plan import limits, nginx_files, settings
from docker_flask.shared import drop_privileges, runtime_folder, sockets
from docker_flask.shared.log import log
from docker_flask.shared.setting_error import SettingError


def main() -> int:
    """Bind the sockets, give up the right to it, supervise; returns the exit code."""
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
    from docker_flask.supervisor.supervisor import supervise

    relay = LogRelay()
    atexit.register(relay.close)  # after the last line, also of an error that ends this process
    with runtime_folder.open_folder() as folder:
        service = Service(resources, folder, listeners, early)
        return supervise(service, status, relay)


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
