"""How nginx is started: its command line and its environment."""

from __future__ import annotations

from pathlib import Path

NGINX = "/usr/sbin/nginx"
PRELOAD_LIBRARY = "/opt/docker-flask/nginx_preload.so"
# Bytes of freed memory that an nginx worker keeps. Without it, the worker would ask the kernel for
# the buffers of each large response again.
KEPT_MEMORY = 4 << 20


def command(configuration: Path) -> list[str]:
    """The command line that runs nginx in the foreground."""
    return [NGINX, "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)]


def environment(descriptors: list[int], bodies: int = 0) -> dict[str, str]:
    """The variables with which nginx uses the supervisor's listening sockets.

    bodies: bytes of the disk that the requests of an nginx worker may take, 0 for half of it.
    NGINX is nginx's own, for an upgrade of its program:
    https://nginx.org/en/docs/control.html#upgrade. preload.c says what the library does.
    MALLOC_TRIM_THRESHOLD_ is glibc's: mallopt(3).
    """
    return {
        "NGINX": "".join(f"{descriptor};" for descriptor in descriptors),
        "LD_PRELOAD": PRELOAD_LIBRARY,
        "MALLOC_TRIM_THRESHOLD_": str(KEPT_MEMORY),
        "DOCKER_FLASK_BODIES": str(bodies),
    }
