"""A Swarm: engines of Docker in containers, and HAProxy in front of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from tests.support.harness import (
    BASE_IMAGE,
    IMAGE,
    ROOT,
    Engine,
    docker_client,
    wait_for,
)

PACKAGES = "docker.io iptables ca-certificates haproxy"
STACK = ROOT / "deploy/swarm.yaml"
HAPROXY = ROOT / "deploy/haproxy.cfg"
SERVICE = "flaskapp_web"
# `privileged`, but for a capability that an engine does not need and some machines do not give.
NEARLY_PRIVILEGED: dict[str, Any] = {
    "cap_add": ["ALL"],
    "cap_drop": ["SYS_RESOURCE"],
    "security_opt": [f"{name}=unconfined" for name in ("seccomp", "apparmor")],
    "device_cgroup_rules": ["a *:* rwm"],
}
# The engine's control groups are below those of its container, so that `docker pause` stops all.
# A killed engine starts again.
ENGINE = """
mount -o remount,rw /proc/sys
group=$(sed -n 's/^[0-9]*:freezer://p' /proc/self/cgroup)
while :; do"""


@contextmanager
def programs(engine: Engine) -> Iterator[str]:
    """An image with the distribution's Docker and HAProxy."""
    builders = engine.part()
    install = f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {PACKAGES}"
    builder = builders.run(["bash", "-c", install], image=BASE_IMAGE, ports={})
    try:
        if builder.wait_for_exit(300):
            raise RuntimeError(builder.logs())
        image = builder.docker.commit()
    finally:
        builders.remove_containers()
    try:
        yield str(image.id)
    finally:
        engine.remove_containers()
        engine.client.images.remove(image.id, force=True)


class Node:
    """An engine in a container, which has the image under test."""

    def __init__(self, engine: Engine, image: str, name: str, shared: Path) -> None:
        self.name = name
        (shared / name).mkdir()
        self.host = f"unix://{shared}/{name}/docker.sock"
        self.container = engine.run(
            ["bash", "-c", f'{ENGINE} dockerd -H {self.host} --cgroup-parent "$group"; done'],
            image=image,
            hostname=name,
            ports={},
            volumes={
                str(shared): {"bind": str(shared), "mode": "rw"},
                "/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"},
            },
            **NEARLY_PRIVILEGED,
            mounts=[Mount("/var/lib/docker", None)],
        )
        self.container.docker.reload()
        self.address = str(self.container.docker.attrs["NetworkSettings"]["IPAddress"])
        self.client = wait_for(self._connect, 60, f"the engine of {name}")

    def _connect(self) -> docker.DockerClient | None:
        assert self.container.running(), self.container.logs()
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self.host.removeprefix("unix://"))
            except OSError:
                return None
        return docker.DockerClient(base_url=self.host)

    def web(self) -> list[Any]:
        """The containers of the application that run here."""
        return self.client.containers.list(
            filters={"label": f"com.docker.swarm.service.name={SERVICE}"}
        )

    def engine_pid(self) -> int:
        """The engine's process, as the host numbers it."""
        rows = self.container.docker.top(ps_args="-eo pid,comm")["Processes"]
        return next(int(pid) for pid, name in rows if name == "dockerd")


class Swarm:
    """Engines that form a Swarm, the stack of deploy/swarm.yaml on it, and a balancer."""

    def __init__(self, engine: Engine, image: str, folder: Path, nodes: int) -> None:
        self._folder = folder
        archive = folder / "image.tar"
        # Without a tag, `docker save` takes all tags, among them what `make test-apps` has built.
        tag = IMAGE if ":" in IMAGE else f"{IMAGE}:latest"
        assert docker_client("save", "--output", str(archive), tag).returncode == 0
        self.nodes = [Node(engine, image, f"node{n}", folder) for n in range(1, nodes + 1)]
        for node in self.nodes:
            with archive.open("rb") as content:
                node.client.images.load(content)
        archive.unlink()
        manager, *workers = self.nodes
        self.manager = manager.client
        self.manager.swarm.init(advertise_addr=manager.address)
        self.manager.swarm.reload()
        token = self.manager.swarm.attrs["JoinTokens"]["Worker"]
        for node in workers:
            node.client.swarm.join([manager.address], token, advertise_addr=node.address)
        configuration = folder / "haproxy.cfg"
        more = (f"    server {node.name} {node.name}:8080\n" for node in self.nodes[3:])
        configuration.write_text(HAPROXY.read_text() + "".join(more))
        self.balancer = engine.run(
            ["haproxy", "-f", "/haproxy.cfg"],
            image=image,
            volumes={str(configuration): {"bind": "/haproxy.cfg", "mode": "ro"}},
            extra_hosts={node.name: node.address for node in self.nodes},
        )

    def deploy(self, override: str) -> None:
        """Deploy the stack with the changes of a second file."""
        file = self._folder / "override.yaml"
        file.write_text(override)
        files = [word for path in (STACK, file) for word in ("--compose-file", str(path))]
        command = ["--host", self.nodes[0].host, "stack", "deploy", "--resolve-image", "never"]
        result = docker_client(*command, *files, "flaskapp")
        assert result.returncode == 0, result.stderr

    def service(self) -> Any:
        """The application's service."""
        return self.manager.services.get(SERVICE)

    def replicas(self) -> int:
        """How many tasks the service should have."""
        return int(self.service().attrs["Spec"]["Mode"]["Replicated"]["Replicas"])

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks that run, also those that should not."""
        tasks = self.service().tasks()
        return [task for task in tasks if task["Status"]["State"] == "running"]

    def update(self) -> str:
        """The state of the last update; empty if there was none."""
        return str(self.service().attrs.get("UpdateStatus", {}).get("State", ""))
