"""deploy/compose/: the application with a proxy, a database, a queue, a worker and a scheduler."""

from __future__ import annotations

import itertools
import re
import secrets
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.compose import Project
from tests.support.harness import (
    APPS,
    IMAGE,
    NO_TLS,
    ROOT,
    Engine,
    build_image,
    wait_for,
)
from tests.support.stand_ins import stand_in

COMPOSE = ROOT / "deploy/compose"
# Services, and the images in whose place others stand.
STAND_INS = {"db": "postgres", "queue": "redis", "proxy": "caddy", "prometheus": "prometheus"}
SERVICES = {"proxy", "web", "migration", "worker", "scheduler", "db", "queue"}
PERIOD = 2  # of tests/apps/compose/tasks.py
# Longer than the 3 seconds after which the image tells waiting clients to come back.
SLOW = {"LOAD_SECONDS": "4"}
FAILING = {"environment": {"MIGRATION_FAILS": "1"}}
NEW_VERSION = {"environment": {**SLOW, "VERSION": "2"}}
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9;proto=http;host=evil.example",
}

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(600),  # the first test builds four images, and starts seven containers
]


class Stack(Project):
    """The files of deploy/compose/ as a user has them, with other images and ports."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(COMPOSE, folder)
        shutil.copytree(ROOT / "deploy/prometheus", folder.parent / "prometheus")
        folder.joinpath("secrets").mkdir()
        for name in ("db_password", "secret_key"):
            secret = folder / "secrets" / name
            secret.write_text(secrets.token_hex(16))
            secret.chmod(0o644)
        image = f"{IMAGE}:compose"
        build_image(image, APPS / "compose", "--build-arg", f"IMAGE={IMAGE}")
        super().__init__(folder, {"IMAGE": image})
        self.change()

    def change(self, **services: Any) -> None:
        """Write the file that replaces parts of these services; an earlier one is replaced."""
        replaced: dict[str, Any] = {
            service: {"image": stand_in(image)} for service, image in STAND_INS.items()
        }
        replaced["web"] = {"environment": SLOW}
        for name, change in services.items():
            replaced[name] = {**replaced.get(name, {}), **change}
        text = yaml.safe_dump({"services": replaced})
        ports = "    ports: !override ['127.0.0.1:0:80', '127.0.0.1:0:443']\n"
        text = text.replace("  proxy:\n", f"  proxy:\n{ports}")
        ports = "    ports: !override ['127.0.0.1:0:9090']\n"
        text = text.replace("  prometheus:\n", f"  prometheus:\n{ports}")
        self.folder.joinpath("compose.override.yaml").write_text(text)

    def log(self, service: str) -> str:
        return self.run("logs", "--no-log-prefix", service)

    def client(self, **options: Any) -> httpx.Client:
        """A client that trusts the proxy's own authority and no other."""
        file = "/data/caddy/pki/authorities/local/root.crt"
        authority = ssl.create_default_context(cadata=self.run("exec", "-T", "proxy", "cat", file))
        url = f"https://localhost:{self.port('proxy', 443)}"
        return httpx.Client(base_url=url, verify=authority, timeout=40, **options)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack") / "compose")
    try:
        stack.run("up", "--detach", "--wait", seconds=300)
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


def test_it_is_up_migrates_once_and_does_jobs(stack: Stack, client: httpx.Client) -> None:
    """Also after a second `up`, which finds nothing to do."""
    assert client.put("/notes/first").text == "first"
    client.put("/jobs/job").raise_for_status()
    stack.run("up", "--detach", "--wait")
    states = stack.states()
    assert set(states) == SERVICES
    assert {name for name, state in states.items() if state != "running"} == {"migration"}
    assert stack.log("migration").count("Running upgrade") == 1
    wait_for(lambda: {"first", "job"} <= set(client.get("/notes").json()), 20, "the job", every=0.2)


def test_the_scheduler_ticks_once_a_period(stack: Stack, client: httpx.Client) -> None:
    """While several workers of the application serve."""
    workers = re.search(r"(\d+) workers", stack.log("web"))
    assert workers
    assert int(workers[1]) > 1
    wait_for(lambda: client.get("/ticks").json()["number"], 20, "the first tick", every=0.2)
    before = client.get("/ticks").json()
    time.sleep(6 * PERIOD)
    after = client.get("/ticks").json()
    expected = (after["now"] - before["now"]) / PERIOD
    assert abs(after["number"] - before["number"] - expected) <= 1


def test_the_client_arrives_in_the_application(
    stack: Stack, client: httpx.Client, session_engine: Engine
) -> None:
    """Its address, https and the host; nothing that it claims."""
    network = session_engine.client.networks.get(f"{stack.name}_default")
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    for headers in ({}, FORGED):
        found = client.get("/", headers=headers).json()
        assert found == {"address": gateway, "url": f"{client.base_url}/"}


@contextmanager
def under_load(stack: Stack) -> Iterator[dict[str, int]]:
    """Write notes meanwhile, each once; the notes, and the status of each response."""
    outcomes: dict[str, int] = {}
    over = threading.Event()

    def write(writer: str) -> None:
        with stack.client() as client:
            for number in itertools.count():
                note = f"{writer}-{number}"
                outcomes[note] = client.put(f"/notes/{note}").status_code
                if over.is_set():
                    return

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(write, secrets.token_hex(4)) for _ in range(4)]
        try:
            wait_for(lambda: len(outcomes) > 20, 20, "responses before")
            yield outcomes
            before = len(outcomes)
            wait_for(lambda: len(outcomes) > before + 20, 40, "responses after")
        finally:
            over.set()
        for each in writing:
            each.result()
    print(f"{len(outcomes)} requests")


def test_a_restart_of_the_application_loses_nothing(stack: Stack, client: httpx.Client) -> None:
    """While it is away, requests wait at the proxy."""
    with under_load(stack) as outcomes:
        stack.run("restart", "web", "worker", "scheduler")
    assert set(outcomes.values()) == {200}
    assert outcomes.keys() <= set(client.get("/notes").json())


def test_databases_keep_what_they_have(stack: Stack, client: httpx.Client) -> None:
    """The queue has a job that nobody has taken, and the database a record."""
    client.put("/notes/kept").raise_for_status()
    stack.run("stop", "worker")
    client.put("/jobs/late").raise_for_status()
    stack.run("restart", "db", "queue")
    stack.run("up", "--detach", "--wait")
    wait_for(lambda: {"kept", "late"} <= set(client.get("/notes").json()), 40, "both", every=0.2)


def test_an_update_whose_migration_fails(stack: Stack, client: httpx.Client) -> None:
    """With docs/deploying.md's line, the old version goes on serving."""
    before = stack.run("ps", "--quiet", "web")
    stack.change(migration=FAILING, web=NEW_VERSION)
    assert stack.attempt("run", "--rm", "-T", "migration").returncode == 3
    assert client.get("/notes").status_code == 200
    assert stack.run("ps", "--quiet", "web") == before


def test_an_update(stack: Stack, client: httpx.Client) -> None:
    """With docs/deploying.md's line: clients wait."""
    before = stack.run("ps", "--quiet", "web")
    stack.change(web=NEW_VERSION)
    with under_load(stack) as outcomes:
        stack.run("run", "--rm", "-T", "migration")
        stack.run("up", "--detach", "--wait")
    assert stack.run("ps", "--quiet", "web") != before
    assert set(outcomes.values()) == {200}
    assert outcomes.keys() <= set(client.get("/notes").json())


def test_prometheus_reads_the_container_and_the_alerts(stack: Stack) -> None:
    """Grafana has no stand-in."""
    stack.run("--profile", "monitoring", "up", "--detach", "--no-deps", "prometheus", seconds=300)
    url = f"http://127.0.0.1:{stack.port('prometheus', 9090)}/api/v1"

    def ask(path: str) -> Any:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}{path}", verify=NO_TLS).json().get("data")
        return None

    def ready() -> bool:
        found = ask("/query?query=docker_flask_ready")
        return bool(found) and [row["value"][1] for row in found["result"]] == ["1"]

    wait_for(ready, 40, "the first scrape", every=0.5)
    (group,) = ask("/rules")["groups"]
    assert {rule["state"] for rule in group["rules"]} == {"inactive"}
    stack.run("--profile", "monitoring", "rm", "--stop", "--force", "prometheus")


def test_an_update_of_two_replicas(
    stack: Stack, client: httpx.Client, session_engine: Engine
) -> None:
    """With docs/deploying.md's lines: the new ones start beside the old ones."""
    two = {"deploy": {"replicas": 2}}
    stack.change(web={**NEW_VERSION, **two})
    stack.run("up", "--detach", "--wait")
    old = stack.run("ps", "--quiet", "web").split()
    stack.change(web={"environment": {**SLOW, "VERSION": "3"}, **two})
    with under_load(stack) as outcomes:
        stack.run("run", "--rm", "-T", "migration")
        beside = ("--no-deps", "--no-recreate", "--scale", "web=4", "web")
        stack.run("up", "--detach", "--wait", *beside)
        for each in map(session_engine.client.containers.get, old):
            each.stop()
            each.remove()
        stack.run("up", "--detach", "--wait", "--no-deps", "worker", "scheduler")
    new = map(session_engine.client.containers.get, stack.run("ps", "--quiet", "web").split())
    assert ["VERSION=3" in each.attrs["Config"]["Env"] for each in new] == [True, True]
    assert set(outcomes.values()) == {200}
    assert outcomes.keys() <= set(client.get("/notes").json())


def test_down_ends_all(stack: Stack, session_engine: Engine) -> None:
    begun = time.time()
    stack.run("down")
    seconds = time.time() - begun
    project = {"event": "die", "label": f"com.docker.compose.project={stack.name}"}
    until = int(begun + seconds) + 1
    deaths = session_engine.client.events(int(begun), until, filters=project, decode=True)
    found = [death["Actor"]["Attributes"] for death in deaths]
    codes = {death["com.docker.compose.service"]: int(death["exitCode"]) for death in found}
    print(f"down after {seconds:.1f} s")
    assert codes == dict.fromkeys(SERVICES - {"migration"}, 0)
    assert seconds < 30
