"""A certificate from files: what replaces it is served soon, and nothing bad replaces it."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificates
from tests.support.harness import ROOT, Container, Engine, wait_for

NUMBERS = itertools.count()


def renamed(certs: Path) -> bytes:
    """As `install` and certbot's hooks do."""
    new = certificates.write(certs / "new")
    for path in (certs / "new").iterdir():
        path.rename(certs / "..data" / path.name)
    return new


def linked(certs: Path) -> bytes:
    """As the kubelet does for a Secret: the files are links through a link to a folder."""
    folder = certs / f"..{next(NUMBERS)}"
    new = certificates.write(folder)
    for path in folder.iterdir():  # by fsGroup and defaultMode
        os.chown(path, 0, 33)
        path.chmod(0o440)
    (certs / "..next").symlink_to(folder.name)
    (certs / "..next").rename(certs / "..data")
    return new


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A folder as the kubelet mounts it."""
    folder = tmp_path / "certs"
    folder.mkdir(mode=0o755)
    linked(folder)
    for name in ("tls.crt", "tls.key"):
        (folder / name).symlink_to(f"..data/{name}")
    return folder


@pytest.fixture
def container(engine: Engine, certs: Path) -> Container:
    """A container that serves with the certificate of `certs`."""
    env = {"TLS_CERTIFICATE": "/certs", "HEALTH_PATH": "/up"}
    volumes = certificates.mounted(certs)
    container = engine.run(env=env, volumes=volumes, ports=certificates.PORTS)
    container.wait_until_serving("/up")
    return container


@pytest.mark.timed
def test_a_changed_file_is_served_within_ten_seconds(container: Container, certs: Path) -> None:
    """Files that `cp` has written: test_https_loss.py, by its swaps."""
    for replace in (renamed, linked):
        certificates.wait_until_served(container, replace(certs), 10)
    new = linked(certs)
    container.reload()
    certificates.wait_until_served(container, new, 1)  # nginx's old workers have left by then
    assert "keeping" not in container.logs()


def test_a_bad_file_is_not_served_after_a_crash_either(container: Container, certs: Path) -> None:
    before = certificates.served(container)
    (certs / "tls.crt").write_bytes((certs / "tls.crt").read_bytes()[:300])
    os.truncate(certs / "tls.key", 0)
    container.wait_for_log("keeping the previous certificate: TLS_CERTIFICATE=/certs/tls.key has")
    (master,) = container.pids("nginx: master")
    container.kill("KILL", master)
    wait_for(lambda: container.pids("nginx: master") not in ([], [master]), 5, "another nginx")
    certificates.wait_until_served(container, before, 5)
    container.reload()
    assert certificates.served(container) == before
    certificates.wait_until_served(container, certificates.write(certs), 10)
    assert container.logs().count("keeping the previous certificate") == 1


def test_in_a_pod(engine: Engine, certs: Path) -> None:
    """As deploy/kubernetes runs it, with the settings that docs/https.md names."""
    text = (ROOT / "docs/https.md").read_text()
    (named,) = re.findall("^On Kubernetes.*?^```", text, re.S | re.M)
    env = dict(re.findall("`([A-Z_]+)=([^`]+)`", named))
    assert env.keys() == {"TLS_CERTIFICATE", "TLS_PORT", "HEALTH_PATH"}
    port = int(env["TLS_PORT"])
    locked: dict[str, Any] = {"user": "33:33", "read_only": True, "cap_drop": ["ALL"]}
    locked |= {"security_opt": ["no-new-privileges"], "tmpfs": {"/tmp": "", "/data": "uid=33"}}
    container = engine.run(
        env={"LISTEN_PORT": "8080", **env},
        volumes=certificates.mounted(certs),
        ports={f"{each}/tcp": ("127.0.0.1", None) for each in (8080, port)},
        **locked,
    )
    container.wait_until_serving(env["HEALTH_PATH"], 8080)
    assert container.get("/", 8080).headers["Location"] == "https://127.0.0.1/"
    certificates.wait_until_served(container, linked(certs), at=port)
