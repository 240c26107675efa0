"""nginx: its configuration, how it starts on the sockets that the supervisor holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2

from docker_flask.limits import Limits
from docker_flask.settings import Settings

NGINX = "/usr/sbin/nginx"
# Connections, for each nginx worker, of clients whose request is not read yet or answered.
IDLE_CONNECTIONS = 4096
# Descriptors that nginx has open itself: sockets, log, event queue.
OWN_DESCRIPTORS = 24


def render(
    template: Path,
    settings: Settings,
    limits: Limits,
    runtime: Path,
    addresses: list[str],
    starting: bool = False,
) -> str:
    """The text of nginx's configuration.

    runtime: the folder for sockets and temporary files; addresses: what the inherited sockets
    are bound to, as nginx writes it; starting: answer 503 to everything.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    nginx_workers = max(1, limits.whole_cpus // 4)
    connections = min(2 * limits.backlog + IDLE_CONNECTIONS, limits.descriptors - OWN_DESCRIPTORS)
    idle = min(IDLE_CONNECTIONS, connections // 4)
    return environment.from_string(template.read_text()).render(
        runtime=runtime,
        socket=runtime / "app.sock",
        listen=addresses,
        backlog=limits.backlog,
        descriptors=limits.descriptors,
        nginx_workers=nginx_workers,
        connections=connections,
        # As many as the application's socket lets wait.
        requests=min(limits.backlog, nginx_workers * (connections - idle) // 2),
        shutdown_timeout=_whole_seconds(settings.request_timeout + 5),
        request_timeout=_whole_seconds(settings.request_timeout),
        max_upload=settings.max_upload,
        access_log=settings.access_log,
        starting=starting,
    )


def command(configuration: Path) -> list[str]:
    """The command line that runs nginx in the foreground."""
    return [NGINX, "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)]


def environment(descriptors: list[int]) -> dict[str, str]:
    """The variable by which nginx takes over listening sockets instead of binding its own.

    It is what nginx itself uses when its program is replaced under way:
    https://nginx.org/en/docs/control.html#upgrade
    """
    return {"NGINX": "".join(f"{descriptor};" for descriptor in descriptors)}


def check(configuration: Path, listeners: list[int]) -> str:
    """What nginx has against a configuration; empty when it is fit to run."""
    result = subprocess.run(
        [*command(configuration), "-t", "-q"],
        env=environment(listeners),
        pass_fds=listeners,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stderr.strip() if result.returncode else ""


def _whole_seconds(seconds: float) -> int:
    return max(1, round(seconds))
