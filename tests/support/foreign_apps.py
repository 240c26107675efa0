"""Applications of other projects: their images, built as the README says, and containers."""

from __future__ import annotations

import functools
import html
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.support.harness import (
    CA_BUNDLE,
    DEBUG,
    DEBUG_PORT,
    IMAGE,
    NO_TLS,
    PRODUCTION_PORT,
    ROOT,
    Container,
    Engine,
    build_image,
    wait_for,
)
from tests.support.stand_ins import stand_in

FOLDER = ROOT / "tests" / "foreign_apps"
MODES = ("production", "debug")
STEPS = ("migrate", "log_in", "write", "upload", "listen", "wait")
# Of users that a test creates: long enough for all applications, and not in the source.
PASSWORD = f"Aa1-{secrets.token_hex(8)}"
STOP_SECONDS = 5  # at most, without load
# What a log may not contain: errors, a path that could not be written, a worker that was killed.
ERRORS = ("Traceback", "add to the Dockerfile", "because memory ran out")
# Servers beside an application, by the names of the stand-ins: a command that succeeds once the
# server serves, and options of `Engine.run`.
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgres": (
        "pg_isready -h 127.0.0.1",
        {"user": "postgres", "env": {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": PASSWORD}},
    ),
    "redis": ("redis-cli ping", {"command": ["redis-server"]}),
}


@dataclass(frozen=True, eq=False)
class Application:
    """How one of them is built and run.

    name: its folder here, with a Dockerfile and requirements.txt, whose first line is the package
    that the application is or comes with; source: the folder of this package's sdist that becomes
    `app/`; edited: a file below /app whose edit debug mode has to notice, may be a new one; page:
    answers 200 once the application serves; server: what runs beside it, by this name, one of
    SERVERS; beside: the command of a container that runs beside it, of the same image; volumes:
    folders of the container; env: variables of `docker run`; options: others, as docker SDK's.
    """

    name: str
    edited: str = "/app/edited.py"
    source: str = ""
    page: str = "/"
    server: str = ""
    beside: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ("/data",)
    env: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    start_seconds: float = 30

    @property
    def pin(self) -> str:
        """The package and its version, as `flask==3.1.3`."""
        return (FOLDER / self.name / "requirements.txt").read_text().split()[0]


class Served:
    """An application's container in one mode, and a client of it that keeps cookies."""

    def __init__(
        self, engine: Engine, application: Application, mode: str, image: str, source: Path | None
    ) -> None:
        self.engine = engine
        self.application = application
        self.mode = mode
        self.port = DEBUG_PORT if mode == "debug" else PRODUCTION_PORT
        self.client = httpx.Client(verify=NO_TLS, timeout=30, follow_redirects=True)
        self._image = image
        self._source = source if mode == "debug" else None
        self._volumes = {path: engine.client.volumes.create() for path in application.volumes}
        self._network = "bridge"
        self._made: list[Any] = [*self._volumes.values()]
        self.container: Container
        self.beside: list[Container] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One thing that is done with the application: its name is in docs/applications.md."""
        try:
            yield
        except BaseException:
            if hasattr(self, "container"):
                print(f"--- the log of {self.application.name}, {self.mode}, at: {name}")
                print(*(each.logs() for each in (self.container, *self.beside)), sep="\n---\n")
            raise

    def start_server(self) -> None:
        """Start what runs beside the application, and wait until it serves."""
        ready, options = SERVERS[self.application.server]
        self._network = f"docker-flask-test-{secrets.token_hex(4)}"
        self._made.append(self.engine.client.networks.create(self._network))
        server = self.engine.run(image=stand_in(self.application.server), ports={}, **options)
        self._made[-1].connect(server.docker, aliases=[self.application.server])
        wait_for(lambda: server.execute(*ready.split())[0] == 0, 30, self.application.server)

    def start(self) -> httpx.Response:
        """Start the container, and what runs beside it, and wait for the first page."""
        self.container = self._run(DEBUG if self.mode == "debug" else [])
        if self.application.beside:
            self.beside = [self._run(list(self.application.beside), ports={})]
        self.client.base_url = httpx.URL(self.container.url("/", self.port))
        page, seconds = self.application.page, self.application.start_seconds
        return self.container.wait_until_serving(page, self.port, seconds)

    def _run(self, command: list[str], **options: Any) -> Container:
        return self.engine.run(
            command,
            image=self._image,
            app=self._source,
            env=self.application.env,
            volumes={v.name: {"bind": path, "mode": "rw"} for path, v in self._volumes.items()},
            network=self._network,
            **self.application.options,
            **options,
        )

    def get(self, path: str, status: int = 200, **options: Any) -> httpx.Response:
        """GET a path, which has to answer with this status."""
        return checked(self.client.get(path, **options), status)

    def post(self, path: str, status: int = 200, **options: Any) -> httpx.Response:
        """POST to a path, which has to answer with this status."""
        return checked(self.client.post(path, **options), status)

    def submit(
        self, page: str, values: dict[str, Any], to: str = "", **options: Any
    ) -> httpx.Response:
        """Fill in the form of a page, as a browser does, and send it to the page or another."""
        return self.post(to or page, data=hidden(self.get(page)) | values, **options)

    def flask(self, *command: str) -> str:
        """`docker exec CONTAINER flask COMMAND`; returns the output."""
        return self.execute("flask", *command)

    def execute(self, *command: str, **options: Any) -> str:
        """`docker exec CONTAINER COMMAND`, which has to succeed; returns the output."""
        code, output = self.container.execute(*command, **options)
        assert code == 0, output
        return output

    def reload(self) -> None:
        """Load the code again: production by its command, debug mode by an edit."""
        if self.mode == "production":
            self.execute("docker-flask", "reload")
        else:
            words = f"{self.application.edited} has changed; reloading"
            before = self.container.logs().count(words)
            if self._source:
                (self._source / self.application.edited.removeprefix("/app/")).touch()
            else:
                self.execute("touch", self.application.edited, user="root")
            wait_for(lambda: self.container.logs().count(words) > before, 10, words)
        self.container.wait_until_serving(self.application.page, self.port)

    def stop(self) -> None:
        """`docker stop`: exit code 0, in time, and no error in the log."""
        for container in (self.container, *self.beside):
            code, seconds = container.stop()
            log = container.logs()
            assert code == 0, log
            assert seconds < STOP_SECONDS, log
            for error in ERRORS:
                assert error not in log, log

    def replace(self) -> None:
        """Stop and remove the containers, and start others with the same volumes."""
        self.stop()
        for container in (self.container, *self.beside):
            container.docker.remove()
        self.start()

    def close(self) -> None:
        """Remove its containers, volumes and network."""
        self.client.close()
        self.engine.remove_containers()
        for made in self._made:
            made.remove()


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's forms, such as a token against forged requests."""
    found: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", page.text):
        values = dict(re.findall(r"""(\w+)=["']([^"']*)""", tag))
        if values.get("type") == "hidden" and values.get("name"):
            found.setdefault(values["name"], html.unescape(values.get("value", "")))
    return found


def checked(response: httpx.Response, status: int) -> httpx.Response:
    """The response, if it has this status."""
    where = f"{response.request.method} {response.request.url}"
    assert response.status_code == status, (
        f"{where}: {response.status_code}\n{response.text[:3000]}"
    )
    return response


def sdist_of(pin: str, folder: Path) -> Path:
    """The unpacked sdist of a package, below this folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), pin]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode:
        pytest.skip(f"pip can't download the sdist of {pin}: {result.stderr[-500:].strip()}")
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@functools.cache
def build(application: Application, folder: Path) -> str:
    """Build its image from a folder with what a user would have; returns the image's name."""
    shutil.copytree(FOLDER / application.name, folder, dirs_exist_ok=True)
    if application.source:
        source = sdist_of(application.pin, folder / "sdist") / application.source
        shutil.move(source, folder / "app")
        shutil.rmtree(folder / "sdist")
    text = (folder / "Dockerfile").read_text().replace("FROM docker-flask", f"FROM {IMAGE}")
    if CA_BUNDLE.is_file():  # downloads trust what this machine does
        trust = "RUN --mount=type=secret,id=ca export PIP_CERT=/run/secrets/ca; "
        text = text.replace("RUN ", trust)
    (folder / "Dockerfile").write_text(text)
    return build_image(f"{IMAGE}:{application.name}", folder, "--quiet")


def step_names(steps: ModuleType) -> list[str]:
    """The functions of an application's steps.py that are done between the start and a reload."""
    return [name for name in vars(steps) if name in STEPS]


Serve = Callable[[Application, str], Served]
