"""What docs/deploying.md shows: platforms, units of systemd, a pod in podman, a Swarm."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.types import Mount

from benchmarks import rollouts
from tests.support import plans, swarm
from tests.support.harness import BASE_IMAGE, IMAGE, ROOT, Engine, wait_for
from tests.support.kustomize import Resource, overlay

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

QUADLET = Path(sys.executable).parent / "quadlet"
READ_ONLY = {"read_only": True, "cap_drop": ["ALL"]}

# What each platform documents: the port, the signal of a stop, its seconds; and its limits.
PLATFORMS: dict[str, tuple[str, str, float, dict[str, Any]]] = {
    "Cloud Run": ("8080", "TERM", 10, {"mem_limit": "512m"}),
    "Railway": ("6543", "TERM", 10, {}),
    "Render": ("10000", "TERM", 30, {"mem_limit": "512m"}),
    "Fly": ("8080", "INT", 10, {"mem_limit": "256m"}),
    "any, locked down": ("8080", "TERM", 10, {**READ_ONLY, "user": "12345:0"}),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platforms(engine: Engine, platform: str) -> None:
    """Nothing is set but PORT and HEALTH_PATH."""
    port, stop, seconds, options = PLATFORMS[platform]
    container = engine.run(
        env={"PORT": port, "HEALTH_PATH": "/up"},
        ports={f"{port}/tcp": ("127.0.0.1", None)},
        **options,
    )
    inside = int(port)
    container.wait_until_serving("/up", inside)
    host = {"Host": "healthcheck.example"}
    assert container.get("/up", inside, headers=host).text == "ok\n"
    assert container.get("/", inside).status_code == 200
    container.docker.kill(stop)
    assert container.wait_for_exit(seconds) == 0


def test_podman_makes_a_service_of_the_quadlet_unit() -> None:
    if not QUADLET.exists():
        pytest.skip("podman's generator is missing: tools/install quadlet")
    result = subprocess.run(
        [QUADLET, "-dryrun"],
        env={**os.environ, "QUADLET_UNIT_DIRS": str(ROOT / "deploy/quadlet")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (start,) = re.findall(r"^ExecStart=(.*)$", result.stdout, re.MULTILINE)
    for flag in ("--read-only", "--cap-drop all", "--user 33:33", "no-new-privileges"):
        assert flag in start
    chosen = plans.make(**dict(re.findall(r"--env (\w+)=(\S+)", start))).settings
    assert f":{chosen.listen_port} " in start
    (stop,) = re.findall(r"--stop-timeout=(\d+)", start)
    (kill,) = re.findall(r"^TimeoutStopSec=(\d+)", result.stdout, re.MULTILINE)
    (begin,) = re.findall(r"^TimeoutStartSec=(\d+)", result.stdout, re.MULTILINE)
    assert chosen.graceful_timeout < int(stop) < int(kill)
    assert chosen.start_timeout < int(begin)


# --- the pod of deploy/kubernetes, by podman on the rendered files ---------------------------

NAME = "flaskapp-pod-flaskapp"
# crun refuses the control groups of some older kernels; podman's network sets kernel parameters.
INSTALL = """
umount /proc/sys
apt-get update -qq
apt-get install -qq -y --no-install-recommends podman runc netavark nftables catatonit >/dev/null
mkdir -p /etc/containers
printf '[engine]\nruntime = "runc"\n' > /etc/containers/containers.conf
"""
# What podman needs to start containers in a container.
OPTIONS: dict[str, Any] = {
    "cap_add": ["ALL"],
    "cap_drop": ["SYS_RESOURCE"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "volumes": {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
    "mounts": [Mount("/var/lib/containers", None)],
    "ports": {},
    "init": True,
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "flaskapp-secrets"},
    "stringData": {"SECRET_KEY": "of the Secret"},  # pragma: allowlist secret
}


class Podman:
    """Podman in a container, with an image of the engine under the name that the files have."""

    def __init__(self, engine: Engine, image: str) -> None:
        env = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        self._box = engine.run(["sleep", "300"], image=BASE_IMAGE, env=env, **OPTIONS)
        code, output = self._box.execute("bash", "-ec", INSTALL)
        if code:
            pytest.skip(f"podman can't be installed on {BASE_IMAGE}: {output[-500:]}")
        self._put("image.tar", b"".join(engine.client.images.get(IMAGE).save(named=True)))
        loaded = self.run("load", "--quiet", "--input", "/image.tar")
        self.run("tag", loaded.split()[-1], image)

    def run(self, *words: str) -> str:
        """What a command of podman prints."""
        code, output = self._box.execute("podman", *words)
        assert code == 0, output
        return output

    def play(self, *resources: Resource) -> None:
        """Start what the resources describe."""
        self._put("play.yaml", yaml.safe_dump_all(resources).encode())
        self.run("kube", "play", "--network", "podman", "/play.yaml")

    def inspect(self) -> dict[str, Any]:
        """The application's container."""
        (found,) = json.loads(self.run("container", "inspect", NAME))
        return dict(found)

    def status(self, path: str, port: int) -> int:
        """The status of a page of the pod, 0 if nothing listens."""
        code = f"""
import http.client
c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=5)
try:
    c.request('GET', '{path}')
    print(c.getresponse().status)
except OSError:
    print(0)
"""
        return int(self.run("exec", NAME, "python3", "-c", code))

    def _put(self, name: str, content: bytes) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        self._box.docker.put_archive("/", archive.getvalue())


def test_a_pod_of_one_replica(engine: Engine) -> None:
    """As rendered, unchanged: limits, Secret, volumes, what the probes ask, and the stop."""
    resources = overlay("one-replica")
    (deployment,) = (one for one in resources if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    podman = Podman(engine, container["image"])
    podman.play(SECRET)
    podman.play(*resources)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        port = ports[asked["port"]]
        wait_for(lambda a=asked, p=port: podman.status(a["path"], p) == 200, 20, probe)
    assert podman.status("/", ports["http"]) == 200

    found = podman.inspect()
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["Memory"] == 512 << 20
    assert not found["EffectiveCaps"]
    assert podman.run("exec", NAME, "id", "-u").strip() == "33"
    assert not re.search("of the Secret", str(found["Config"]["Env"]))
    command = "docker-flask", "run", "printenv", "SECRET_KEY"
    assert podman.run("exec", NAME, *command).strip() == "of the Secret"
    podman.run("exec", NAME, "sh", "-c", "echo kept > /data/file")

    begun = time.monotonic()
    podman.run("pod", "stop", "flaskapp-pod")
    assert time.monotonic() - begun < 10
    assert podman.inspect()["State"]["ExitCode"] == 0
    podman.run("pod", "rm", "flaskapp-pod")
    podman.play(*resources)
    assert podman.run("exec", NAME, "cat", "/data/file").strip() == "kept"


# --- a Swarm of three engines behind HAProxy, with fewer tries ------------------------------


@pytest.fixture(scope="module")
def programs(module_engine: Engine) -> Iterator[str]:
    with swarm.programs(module_engine) as image:
        yield image


@pytest.fixture(scope="module")
def site(
    programs: str, module_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> rollouts.Site:
    folder = tmp_path_factory.mktemp("swarm")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    return rollouts.Site(module_engine, programs, folder, nodes=3)


def test_rolling_updates_lose_nothing(site: rollouts.Site) -> None:
    (row,) = rollouts.update(site, 2)
    assert (row.lost, row.backwards) == (0, 0)


def test_bad_versions_are_taken_back_and_lose_nothing(site: rollouts.Site) -> None:
    assert [row.lost for row in rollouts.rollback(site, 1)] == [0, 0]
