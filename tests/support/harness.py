"""Containers for the tests: run one, talk to it, end it, and leave nothing behind."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import docker
import httpx
from docker.errors import APIError, NotFound
from docker.models.containers import Container as DockerContainer

from tests.support.servers import CHOSEN, Server

IMAGE = os.environ.get("IMAGE", "docker-flask")
BASE_IMAGE = os.environ.get("BASE_IMAGE", "ubuntu:24.04")
# How many times as long things may take: more on an emulated processor.
PATIENCE = float(os.environ.get("PATIENCE", "1"))
# A client that can build, its environment, copied before pytest changes it under other threads, and
# certificate authorities that downloads have to trust.
DOCKER = os.environ.get("DOCKER", "docker")
CLIENT_ENVIRONMENT = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
CA_BUNDLE = Path(os.environ.get("CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt"))
ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parents[1] / "apps"
LABEL = "docker-flask.test"
# Without it, httpx loads all certificate authorities for each request: 20 ms of CPU, often more
# than the container needs.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Where a test is not about certificates, it takes any.
NO_TLS.check_hostname, NO_TLS.verify_mode = False, ssl.CERT_NONE
PRODUCTION_PORT, TLS_PORT, DEBUG_PORT = 80, 443, 5000
DEBUG = ["-d", "debug"]
# The application of tests that need any application.
HELLO = (APPS / "hello/app.py").read_text()
# The form of nginx's X-Request-ID.
REQUEST_ID = r"[0-9a-f]{12}(-\d+){3}"
LISTENING = "0A"  # in /proc/net/tcp
# Prints the pids of the processes with a title: its argument.
FIND_PROCESSES = r"""
import os, sys
found = {}
for pid in set(filter(str.isdecimal, os.listdir("/proc"))) - {str(os.getpid())}:
    try:
        with open(f"/proc/{pid}/cmdline") as line, open(f"/proc/{pid}/stat") as stat:
            found[pid] = line.read().replace("\0", " "), stat.read().rpartition(")")[2].split()[1]
    except OSError:
        pass
masters = {pid for pid, (line, _) in found.items() if "/packages/bin/uwsgi " in line}
for pid, (line, parent) in found.items():
    if pid in masters:
        line = "uWSGI worker" if parent in masters else "uWSGI master"
    if line.startswith(sys.argv[1]):
        print(pid)
"""

T = TypeVar("T")
# What the fixture `derive` does: files, among them a Dockerfile, and the image's name.
Derive = Callable[[Mapping[str, str]], str]


class TooSlow(AssertionError):
    """Something took too long. CI tries such a test again (tests/conftest.py)."""


def assert_within(seconds: float, took: float) -> None:
    """Raise TooSlow if something took more than these seconds."""
    if took > seconds:
        raise TooSlow(f"took {took:.2f} s, allowed are {seconds:g} s")


def wait_for(look: Callable[[], T | None], seconds: float, what: str, every: float = 0.05) -> T:
    """The first true value that `look()` returns; TooSlow with `what` when time is up."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TooSlow(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


class Container:
    """A running (or ended) container of the image under test."""

    def __init__(self, container: DockerContainer) -> None:
        self.docker = container

    @property
    def pid(self) -> int:
        """Process 1 of the container, as the host numbers it."""
        self.docker.reload()
        return int(self.docker.attrs["State"]["Pid"])

    def port(self, inside: int = PRODUCTION_PORT) -> int:
        """The port of 127.0.0.1 that the engine picked for a port of the container."""
        self.docker.reload()
        return int(self.docker.ports[f"{inside}/tcp"][0]["HostPort"])

    def url(self, path: str = "/", inside: int = PRODUCTION_PORT) -> str:
        """The address of a path, as the host reaches it."""
        scheme = "https" if inside == TLS_PORT else "http"
        return f"{scheme}://127.0.0.1:{self.port(inside)}{path}"

    def get(self, path: str = "/", inside: int = PRODUCTION_PORT, **options: Any) -> httpx.Response:
        """GET a path; options are httpx's."""
        return httpx.get(self.url(path, inside), **{"timeout": 10, "verify": NO_TLS, **options})

    def wait_until_serving(
        self, path: str = "/", inside: int = PRODUCTION_PORT, seconds: float = 15, status: int = 200
    ) -> httpx.Response:
        """The first answer with this status; fails at once when the container has ended."""

        def look() -> httpx.Response | None:
            assert self.running(), f"the container ended:\n{self.logs()}"
            with suppress(httpx.TransportError):
                response = self.get(path, inside)
                return response if response.status_code == status else None
            return None

        return self._wait_for(look, seconds, f"status {status} of {path}")

    def running(self) -> bool:
        """True while process 1 lives."""
        self.docker.reload()
        return self.docker.status == "running"

    def logs(self) -> str:
        """Everything that was written to stdout and stderr."""
        return self.docker.logs().decode(errors="replace")

    def wait_for_log(self, text: str, seconds: float = 10) -> str:
        """The log, once it holds a text."""

        def look() -> str:
            log = self.logs()
            return log if text in log else ""

        return self._wait_for(look, seconds, f"{text!r} in the log")

    def _wait_for(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        try:
            return wait_for(look, seconds, what)
        except TooSlow as error:
            raise TooSlow(f"{error}\n{self.logs()}") from None

    def wait_for_exit(self, seconds: float = 15) -> int:
        """The exit code, once the container has ended."""
        wait_for(lambda: not self.running(), seconds, "the container to end")
        return int(self.docker.attrs["State"]["ExitCode"])

    def finish(self, seconds: float = 15) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once the container has ended."""
        code = self.wait_for_exit(seconds)
        out, err = (
            self.docker.logs(stdout=stream == 1, stderr=stream == 2).decode(errors="replace")
            for stream in (1, 2)
        )
        return code, out, err

    def lifetime(self) -> float:
        """Seconds from the start to the end of process 1, as the engine noted them."""
        state = self.docker.attrs["State"]
        # Python reads six digits of a second, engines write nine.
        begun, end = (
            datetime.fromisoformat(state[name].rstrip("Z")[:26])
            for name in ("StartedAt", "FinishedAt")
        )
        return (end - begun).total_seconds()

    def stop(self, seconds: int = 10) -> tuple[int, float]:
        """`docker stop`; returns the exit code and how long it took."""
        begun = time.monotonic()
        self.docker.stop(timeout=seconds)
        took = time.monotonic() - begun
        return self.wait_for_exit(), took

    def execute(self, *command: str, **options: Any) -> tuple[int, str]:
        """`docker exec`; returns the exit code and the output."""
        result = self.docker.exec_run(list(command), **options)
        return result.exit_code, result.output.decode(errors="replace")

    def shell(self, line: str) -> str:
        """What a line of bash prints in the container; fails unless it ends with 0."""
        code, output = self.execute("bash", "-c", line)
        assert code == 0, output
        return output

    def reload(self) -> None:
        """`docker-flask reload`, which must succeed."""
        code, output = self.execute("docker-flask", "reload")
        assert code == 0, output

    def settings(self) -> dict[str, list[str]]:
        """What `docker-flask settings` prints: value and origin by name."""
        lines = self.execute("docker-flask", "settings")[1].splitlines()
        return {name: rest for name, *rest in (line.split(maxsplit=2) for line in lines)}

    def pids(self, title: str) -> list[int]:
        """Processes whose command line starts with a title, as the container numbers them.

        "uWSGI master" and "uWSGI worker": uWSGI's processes have one command line, so their
        parents tell.
        """
        code, found = self.execute("/usr/bin/python3", "-I", "-S", "-c", FIND_PROCESSES, title)
        assert code == 0, found
        return sorted(map(int, found.split()))

    def kill(self, name: str, *pids: int) -> None:
        """Send a signal to processes in the container."""
        self.shell(f"kill -{name} {' '.join(map(str, pids))}")

    def is_healthy(self) -> bool:
        """True if the engine's last health check succeeded."""
        self.docker.reload()
        return bool(self.docker.attrs["State"]["Health"]["Status"] == "healthy")

    def wait_until_healthy(self, seconds: float = 10) -> None:
        """Wait for a health check that succeeds."""
        wait_for(self.is_healthy, seconds, "the container to be healthy")

    def processes(self) -> list[tuple[str, str]]:
        """User id and command line of every process, as the engine sees it."""
        rows = self.docker.top(ps_args="axno pid,uid,args")["Processes"]
        return [(uid, line) for _, uid, line in rows]

    def worker_cpu(self) -> Callable[[], float]:
        """Returns a function: seconds of CPU time that nginx's workers have used."""
        rows = self.docker.top(ps_args="axno pid,args")["Processes"]
        workers = [pid for pid, line in rows if line.startswith("nginx: worker")]
        files = [Path(f"/proc/{pid}/schedstat") for pid in workers]
        return lambda: sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def users(self) -> set[str]:
        """The user ids of all processes."""
        return {uid for uid, _ in self.processes()}

    def listening(self) -> set[int]:
        """The TCP ports on which a process of the container listens."""
        tables = (Path(f"/proc/{self.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        rows = (line.split() for table in tables for line in table.splitlines())
        return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}


class Engine:
    """Starts containers, each with a port of 127.0.0.1 that it picks, and removes them all."""

    def __init__(self, session: str) -> None:
        self.client = docker.from_env()
        self.volumes: set[str] = set()
        self._labels = {LABEL: session}
        self._removals = ThreadPoolExecutor(1)

    def part(self) -> Engine:
        """The same engine, which removes only the containers that are started by this object."""
        part = copy.copy(self)
        part._labels = {**self._labels, f"{LABEL}.part": secrets.token_hex(4)}
        return part

    def run(
        self,
        command: list[str] | None = None,
        *,
        server: Server | None = None,
        image: str | None = None,
        app: Path | str | None = None,
        env: dict[str, str] | None = None,
        volumes: dict[str, dict[str, str]] | None = None,
        **options: Any,
    ) -> Container:
        """Start a container in the background.

        command: what follows the image's name; app: a folder to bind-mount at /app; server: the
        application server, in place of that which SERVER names; other options are docker SDK's.
        The image's health check does not run, unless the options have a `healthcheck`.
        """
        server = server or CHOSEN
        mounts = dict(volumes or {})
        if app is not None:
            mounts[str(app)] = {"bind": "/app", "mode": "rw"}
        port = DEBUG_PORT if command == DEBUG else PRODUCTION_PORT
        tls = {TLS_PORT} if "TLS_CERTIFICATE" in (env or {}) and port == PRODUCTION_PORT else set()
        container = self.client.containers.run(
            image or image_with(*server.packages),
            command or [],
            detach=True,
            environment={**server.env, **(env or {})},
            volumes=mounts,
            labels=self._labels,
            **{
                "ports": {f"{each}/tcp": ("127.0.0.1", None) for each in (port, *tls)},
                "healthcheck": {"test": ["NONE"]},  # it would cost each container a process
                **options,
            },
        )
        return Container(container)

    def serve(self, command: list[str] | None = None, **options: Any) -> Container:
        """`run`, and wait until the first page is there."""
        container = self.run(command, **options)
        container.wait_until_serving(inside=DEBUG_PORT if command == DEBUG else PRODUCTION_PORT)
        return container

    def remove_containers(self) -> None:
        """Remove every container of this object and its parts, with its anonymous volumes."""
        self.begin_to_remove_containers().result()

    def begin_to_remove_containers(self) -> Future[None]:
        """The same for those that there are now, beside what comes next."""
        return self._removals.submit(self._remove, self._containers())

    def _remove(self, containers: list[DockerContainer]) -> None:
        for container in containers:
            with suppress(NotFound, APIError):
                container.reload()
                mounts = container.attrs["Mounts"]
                self.volumes |= {mount["Name"] for mount in mounts if mount["Type"] == "volume"}
                container.remove(force=True, v=True)

    def leftovers(self) -> list[str]:
        """What still stands of this object and its parts."""
        mine = {"label": self._filter()}
        return [
            *(f"container {container.name}" for container in self._containers()),
            *(f"network {network.name}" for network in self.client.networks.list(filters=mine)),
            *(f"volume {v.name}" for v in self.client.volumes.list() if v.name in self.volumes),
        ]

    def _containers(self) -> list[DockerContainer]:
        return self.client.containers.list(
            all=True, filters={"label": self._filter()}, ignore_removed=True
        )

    def _filter(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._labels.items()]


class Keyboard:
    """The terminal of a container with `tty=True, stdin_open=True`, as of `docker run -it`."""

    def __init__(self, container: Container) -> None:
        self._socket = container.docker.attach_socket(params={"stdin": 1, "stream": 1})

    def __enter__(self) -> Keyboard:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def type(self, text: str) -> None:
        """Type a text; Ctrl-C is \\x03."""
        getattr(self._socket, "_sock", self._socket).send(text.encode())


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files, with the folders that lead to them; returns the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def mounted(folder: Path, files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Volumes with these files of the container, whose texts are written into a folder."""
    volumes = {}
    for name, text in files.items():
        path = folder / name.strip("/").replace("/", "-")
        path.write_text(text)
        path.chmod(0o644)
        volumes[str(path)] = {"bind": name, "mode": "ro"}
    return volumes


def build_image(tag: str, folder: Path, *options: str) -> str:
    """Build a folder; returns the tag."""
    arguments = ["build", *trust_in_builds(), *options, "-t", tag, str(folder)]
    result = docker_client(*arguments, seconds=400)
    assert result.returncode == 0, result.stderr[-3000:]
    return tag


@functools.cache
def image_with(*packages: str) -> str:
    """The image itself, or one built on it with further packages of Python; its name."""
    if not packages:
        return IMAGE
    name = re.sub(r"[^a-z0-9.]+", "-", "-".join(packages).lower()).strip("-")
    tag = f"{IMAGE}:{name}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "requirements.txt").write_text("".join(f"{p}\n" for p in packages))
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {IMAGE}\nCOPY requirements.txt /tmp/\nRUN --mount=type=secret,id=ca "
            "if [ -r /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi "
            "&& pip install --no-cache-dir --root-user-action=ignore -r /tmp/requirements.txt\n"
        )
        return build_image(tag, Path(folder))


def docker_client(*arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the docker command line, as a person would; stdout and stderr are kept apart."""
    return subprocess.run(
        [DOCKER, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=CLIENT_ENVIRONMENT,
    )


def command_in_netns(pid: int, argv: list[str]) -> list[str]:
    """The command line that runs `argv` in the network of process `pid`, as the host numbers it.

    A published port may be answered by a proxy of the engine, which accepts a connection before the
    container does. Needs root. The command keeps the network, so it may outlive the container.
    """
    assert pid > 0, "the container has stopped"
    return ["nsenter", "--target", str(pid), "--net", "--", *argv]


def run_python(code: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """Run Python code in a fresh process; returns what it printed last, as JSON.

    env: beside this process's own environment.
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def trust_in_builds() -> list[str]:
    """Options of `docker build` that give it what this machine trusts, as a secret."""
    return ["--secret", f"id=ca,src={CA_BUNDLE}"] if CA_BUNDLE.is_file() else []


def trusting() -> dict[str, Any]:
    """Options of `Engine.run` by which downloads in a container trust what this machine does."""
    if not CA_BUNDLE.is_file():
        return {}
    inside = "/run/ca.crt"
    return {
        "env": {"PIP_CERT": inside, "SSL_CERT_FILE": inside, "CA_BUNDLE": inside},
        "volumes": {str(CA_BUNDLE): {"bind": inside, "mode": "ro"}},
    }
