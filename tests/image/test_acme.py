"""Certificates by ACME, from a real authority: pebble."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.test_https_loss import check_that_nothing_is_lost, under_load
from tests.support import certificates
from tests.support.acme import ACCOUNT, KEY, Authority
from tests.support.harness import Container, Engine, assert_within, wait_for
from tests.support.loss import Service
from tests.support.marks import at_night

FIRST = 10.0  # s from the start to the first HTTPS
SHORT = 15  # s that a certificate lives where renewals are tested; renewed after two thirds
WWW_DATA = 33


@pytest.fixture(scope="module")
def authority(
    module_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    """An authority for all tests of this module."""
    with Authority(module_engine, tmp_path_factory.mktemp("authority")) as one:
        yield one


def wait_for_https(container: Container, name: str = certificates.NAME) -> bytes:
    """Wait for the certificate for a name.

    While nginx takes up the first one, a worker without it may still refuse a handshake.
    """

    def look() -> bytes:
        assert container.running(), container.logs()
        return certificates.served(container, name)

    return wait_for(look, 20, "HTTPS")


def data(folder: Path) -> dict[str, dict[str, str]]:
    """The volume for /data of a folder that belongs to the container's user."""
    os.chown(folder, WWW_DATA, WWW_DATA)
    return {str(folder): {"bind": "/data", "mode": "rw"}}


def run(engine: Engine, options: dict[str, Any], folder: Path, **more: Any) -> Container:
    """Start a container with this folder as /data."""
    return engine.run(**{**options, "volumes": options["volumes"] | data(folder), **more})


@pytest.mark.timed
@pytest.mark.timeout(300)
@pytest.mark.parametrize("restarts", [2, *at_night(50)])
def test_first_certificate_is_kept(authority: Authority, engine: Engine, restarts: int) -> None:
    before, begun = authority.orders(), time.monotonic()
    names = (f"kept{restarts}.test", f"www.kept{restarts}.test")
    container = engine.run(**authority.options(*names))
    wait_for_https(container)
    assert_within(FIRST, time.monotonic() - begun)
    certificate = wait_for_https(container, names[1])
    assert all(name.encode() in certificate for name in names)
    # For a moment, a worker without the certificate may still serve.
    redirect = container.wait_until_serving(status=308)
    assert redirect.headers["Location"] == "https://127.0.0.1/"
    for _ in range(restarts):
        container.docker.restart()
        container.wait_until_serving(status=308)
        assert certificates.served(container) == certificate
    assert authority.orders() - before == 1
    assert container.shell("stat -c '%a %U' /data/tls") == "700 www-data\n"


@pytest.mark.nightly
@pytest.mark.timed
@pytest.mark.timeout(900)
def test_twenty_renewals_lose_nothing(engine: Engine, tmp_path: Path) -> None:
    with Authority(engine, tmp_path, validity=SHORT) as authority:
        options = authority.options("renewed.test", env={"TLS_REDIRECT": "0"})
        service = Service(engine, tmp_path, **options)
        wait_for_https(service.container)
        with under_load(service) as results:
            for _ in range(20):
                service.container.shell("rm /data/tls/*/orders*")  # 2 minutes between two orders
                old = certificates.served(service.container)
                wait_for(
                    lambda old=old: certificates.served(service.container) not in (old, b""),
                    2 * SHORT,
                    "the next certificate",
                )
        assert authority.orders() == 21
    check_that_nothing_is_lost(service, results)


@pytest.mark.nightly
def test_an_authority_that_is_down(authority: Authority, engine: Engine) -> None:
    authority.container.docker.stop(timeout=1)
    options = authority.options("down.test")
    container = engine.run(**options, healthcheck={"interval": 10**9})
    log = container.wait_for_log("the next try is at", 25)
    assert log.count("no new certificate for down.test: uacme exited with code 2") == 1
    assert container.get("/").status_code == 200  # and no redirect
    assert not certificates.served(container)
    container.wait_until_healthy()
    authority.container.docker.start()
    container.docker.restart()
    container.wait_for_log("issued the certificate; the next try is at")
    container.wait_until_serving()
    container.shell("touch -d '1 hour ago' /data/tls/*/orders*")
    wait_for_https(container)


def test_a_name_that_leads_elsewhere(authority: Authority, engine: Engine) -> None:
    container = engine.run(**authority.options("elsewhere.test", reached=False))
    log = container.wait_for_log("the next try is at")
    assert "lookup elsewhere.test" in log
    assert container.get("/").status_code == 200


@pytest.mark.nightly
def test_containers_that_share_data(authority: Authority, engine: Engine) -> None:
    """One orders, also if it takes longer than the pause after a failure."""
    before = authority.orders()
    authority.container.docker.pause()
    first = engine.run(**authority.options("shared.test"))
    first.wait_for_log("ordering")
    second = engine.run(**authority.options("shared.test"), volumes_from=[first.docker.id])
    second.wait_until_serving()
    first.shell("touch -d '1 hour ago' /data/tls/*/orders*")
    second.wait_for_log("ordering")
    time.sleep(7)  # two looks
    assert second.logs().count("ordering") == 1
    authority.container.docker.unpause()
    for container in (first, second):
        wait_for_https(container)
    assert authority.orders() - before == 1
    assert certificates.served(first) == certificates.served(second)


@pytest.mark.nightly
def test_another_domain(authority: Authority, engine: Engine, tmp_path: Path) -> None:
    """It is ordered at once, also after an order for another name has failed."""
    for names in (["old.test"], ["old.test", "www.old.test"], ["new.test"]):
        container = run(engine, authority.options(*names), tmp_path)
        wait_for(
            lambda name=names[-1], it=container: name.encode() in certificates.served(it),
            20,
            f"a certificate for {names}",
        )
        assert container.stop()[0] == 0


def test_external_account_binding(engine: Engine, tmp_path: Path) -> None:
    with Authority(engine, tmp_path, eab=True) as authority:
        without = engine.run(**authority.options("without.test"))
        bound = engine.run(**authority.options("bound.test", env={"ACME_EAB": f"{ACCOUNT}:{KEY}"}))
        wait_for_https(bound)
        assert "requires external credentials" in without.wait_for_log("the next try is at")
        assert KEY not in bound.logs() + bound.execute("docker-flask", "settings")[1]


def test_folders_without_room_or_right(
    authority: Authority, engine: Engine, tmp_path: Path
) -> None:
    full = engine.run(**authority.options("full.test"), tmpfs={"/data": "size=8k"})
    (tmp_path / "tls").mkdir(mode=0o755)  # root's: nginx would serve links in `challenges`
    foreign = run(engine, authority.options("foreign.test"), tmp_path)
    full.wait_for_log("can't order a certificate: no space left in /data; trying again in")
    assert foreign.wait_for_exit() == 78
    assert "TLS_DOMAIN needs /data/tls, a folder that only uid 33 can write to" in foreign.logs()
    time.sleep(7)  # two looks
    assert full.logs().count("can't order") == 1
    assert full.get("/").status_code == 200
    # An empty key, which an order on a full disk has left.
    key = tmp_path / "tls/pebble_14000/private/foreign.test/key.pem"
    key.parent.mkdir(parents=True)
    key.touch()
    (tmp_path / "tls/challenges").mkdir()
    for path in tmp_path.rglob("*"):
        os.chown(path, WWW_DATA, WWW_DATA)
    (tmp_path / "tls/challenges/evil").symlink_to("/etc/passwd")
    foreign.docker.restart()
    wait_for_https(foreign)
    assert foreign.get("/.well-known/acme-challenge/evil").status_code == 403
    # Every user could replace the folder with the certificate, at any time.
    tmp_path.chmod(0o777)
    foreign.docker.restart()
    assert foreign.wait_for_exit() == 78
    assert "without the sticky bit: chmod +t /data" in foreign.logs().splitlines()[-1]


def test_an_image_without_uacme(authority: Authority, engine: Engine) -> None:
    options = authority.options("none.test")
    options["volumes"] = {"/dev/null": {"bind": "/usr/bin/uacme", "mode": "ro"}}
    container = engine.run(**options)
    assert container.wait_for_exit() == 78
    assert "TLS_DOMAIN needs the package uacme" in container.logs()
