"""What docs/deploying.md shows, with fewer tries: a Swarm of three engines behind HAProxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import rollouts
from tests.support import swarm
from tests.support.harness import Container, Engine
from tests.support.loss import RECORDING_APP, Load

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

LOADING = 20  # seconds
TCP_CHECK = """
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend clients
    bind :80
    default_backend containers
backend containers
    option redispatch 1
    default-server check inter 500ms
    server ready ready:80
    server loading loading:80
"""


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


def start(engine: Engine, folder: Path, bind: str, seconds: int) -> Container:
    """A container of the checked application, which loads for some seconds."""
    app, record = folder / f"app{seconds}", folder / "record"
    app.mkdir()
    (app / "app.py").write_text(f"{RECORDING_APP.read_text()}\ntime.sleep({seconds})\n")
    record.mkdir(exist_ok=True)
    record.chmod(0o1777)
    container = engine.run(
        app=app,
        env={"BIND_WHEN_READY": bind, "RECORD_DIR": "/record"},
        volumes={str(record): {"bind": "/record", "mode": "rw"}},
    )
    container.docker.reload()
    return container


@pytest.mark.parametrize("bind", ["1", "0"])
def test_a_balancer_that_asks_for_an_open_port(
    engine: Engine, programs: str, app_folder: Path, bind: str
) -> None:
    """Without BIND_WHEN_READY=1, the port is open before the application has loaded."""
    ready, loading = (start(engine, app_folder, bind, seconds) for seconds in (0, LOADING))
    ready.wait_until_serving()
    configuration = app_folder / "haproxy.cfg"
    configuration.write_text(TCP_CHECK)
    addresses = [one.docker.attrs["NetworkSettings"]["IPAddress"] for one in (ready, loading)]
    balancer = engine.run(
        ["haproxy", "-f", "/haproxy.cfg"],
        image=programs,
        volumes={str(configuration): {"bind": "/haproxy.cfg", "mode": "ro"}},
        extra_hosts=dict(zip(("ready", "loading"), addresses, strict=True)),
    )
    balancer.wait_until_serving()
    with Load(balancer, app_folder / "load.json", rate=50) as running:
        loading.wait_for_log("serving app:app", LOADING + 15)
        time.sleep(3)
        counts = running.finish().counts
    print(counts)
    bad = {name: count for name, count in counts.items() if count and name != "ok"}
    assert counts["ok"] > 50 * LOADING / 2
    assert "GET /" in loading.logs()
    if bind == "1":
        assert not bad
    else:
        assert counts["5xx"] + counts["503_retry_after"] > 0
