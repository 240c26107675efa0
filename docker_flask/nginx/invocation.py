"""How nginx is started: its command line and its environment."""

from __future__ import annotations

from pathlib import Path

NGINX = "/usr/sbin/nginx"


def command(configuration: Path) -> list[str]:
    """The command line that runs nginx in the foreground."""
    return [NGINX, "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)]


def environment(descriptors: list[int]) -> dict[str, str]:
    """The variable with which nginx uses the supervisor's listening sockets.

    NGINX is nginx's own, for an upgrade of its program:
    https://nginx.org/en/docs/control.html#upgrade.
    """
    return {"NGINX": "".join(f"{descriptor};" for descriptor in descriptors)}
