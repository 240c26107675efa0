"""What SECURITY.md says of the CIS Docker Benchmark and of Pod Security, beside other tests."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterator

import pytest

from tests.support.harness import IMAGE, ROOT, Container, Engine, docker_client, wait_for
from tests.support.servers import NOT_APPLICABLE

TEXT = (ROOT / "SECURITY.md").read_text()
PORT = 8080
# From the last row of the table of nginx's faults: the column of a distribution.
COLUMNS = {"debian 12": 2, "debian 13": 3}


@pytest.fixture(scope="module")
def container(module_engine: Engine) -> Iterator[Container]:
    """The container of the documented line, with a port, a name and a volume of its own."""
    (line,) = re.findall(r"^docker run -d (.*?) docker-flask$", TEXT, re.MULTILINE | re.DOTALL)
    name = f"docker-flask-test-{secrets.token_hex(4)}"
    own = {"--name flaskapp": f"--name {name}", ":8091:": "::", "-v flaskapp-data:": "-v "}
    for documented, changed in own.items():
        assert documented in line
        line = line.replace(documented, changed)
    started = docker_client("run", "-d", *shlex.split(line.replace("\\\n", " ")), IMAGE)
    try:
        assert started.returncode == 0, started.stderr
        yield Container(module_engine.client.containers.get(name))
    finally:
        docker_client("rm", "--force", "--volumes", name)


def test_the_documented_line_serves(container: Container) -> None:
    container.wait_until_serving(inside=PORT)
    wait_for(lambda: container.execute("docker-flask", "health")[0] == 0, 5, "health")
    status = container.execute("cat", "/proc/1/status")[1]
    facts = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert facts["Uid"].split() == ["33"] * 4
    assert (int(facts["CapEff"], 16), int(facts["CapBnd"], 16), facts["NoNewPrivs"]) == (0, 0, "1")
    assert facts["Seccomp"] == "2"
    assert container.execute("docker-flask", "reload")[0] == 0


def test_nginx_has_the_fixes(container: Container) -> None:
    _, release = container.execute("cat", "/etc/os-release")
    facts = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', release, re.MULTILINE))
    column = COLUMNS.get(f"{facts['ID']} {facts['VERSION_ID']}")
    if column is None:
        pytest.skip(f"{NOT_APPLICABLE}{facts['ID']}: SECURITY.md names no version of its")
    *_, last = re.findall(r"^\| (CVE-.*) \|$", TEXT, re.MULTILINE)
    needed = last.split(" | ")[column]
    _, version = container.execute("dpkg-query", "-W", "-f", "${Version}", "nginx")
    compared = container.execute("dpkg", "--compare-versions", version, "ge", needed)
    assert compared == (0, ""), f"nginx {version} is older than {needed}"
