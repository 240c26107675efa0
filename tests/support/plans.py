"""Plans for tests, made without files and programs of the image."""

from __future__ import annotations

from docker_flask.plan import settings, sizing, workers
from docker_flask.plan.limits import Limits
from docker_flask.plan.nginx_files import NginxFiles
from docker_flask.plan.plan import Plan
from docker_flask.shared.origin import ServerOptions

LIMITS = Limits(
    cpus=2,
    cpus_reason="cgroup quota of 2 CPUs",
    memory=8 << 30,
    memory_reason="cgroup limit of 8192 MiB",
    descriptors=65_536,
    backlog=4_096,
)


def make(limits: Limits = LIMITS, memory: int = 0, /, **environ: str) -> Plan:
    """The plan for these variables and limits, where the user has no files.

    memory: bytes of a worker, 0 if none was measured.
    """
    chosen, origins = settings.resolve(settings.read(environ), limits)
    found = workers.decide(chosen, origins, limits, memory)
    return Plan(
        environment=environ,
        settings=chosen,
        origins=origins,
        limits=limits,
        workers=found,
        sizing=sizing.compute(chosen, found, limits),
        nginx_files=NginxFiles(),
        options=ServerOptions(),
    )
