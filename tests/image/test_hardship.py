"""What surrounds a container goes wrong: limits, disks, clocks, pauses, a log that nobody reads."""

from __future__ import annotations

import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker.errors import APIError

from tests.support.harness import DEBUG, IMAGE, Container, Engine, assert_within, wait_for
from tests.support.loss import Service, written_memory
from tests.support.loss_checker.result import Result
from tests.support.marks import at_night

# 1073741816 is what some engines hand out. The engine can go up to the kernel's limit, or, where
# even root has no CAP_SYS_RESOURCE, up to the limit that it was started with.
KERNEL_MOST_FILES = int(Path("/proc/sys/fs/nr_open").read_text())
CAPABILITIES = re.search(r"^CapBnd:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
MAY_RAISE = bool(CAPABILITIES and int(CAPABILITIES[1], 16) >> 24 & 1)
OWN_MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MOST_FILES = min(1073741816, KERNEL_MOST_FILES if MAY_RAISE else OWN_MOST_FILES)
ENTRY = "/opt/docker-flask/entry-point.sh"


def healthy(result: Result) -> bool:
    """True when every request of a load was answered with 200."""
    return result.counts["ok"] == sum(result.counts.values()) > 0


@pytest.mark.alone
@pytest.mark.nightly
def test_load_beyond_capacity(engine: Engine, tmp_path: Path) -> None:
    # Half a CPU, so that the client can offer twice what the container can carry.
    service = Service(engine, tmp_path, nano_cpus=500_000_000, env={"ACCESS_LOG": "0"})
    with service.load(mode="new", connections=64) as running:
        time.sleep(4)
        alone = running.finish()
    with service.load(mode="new", rate=alone.counts["ok"] // 2, timeout=30) as running:
        time.sleep(5)
        over = running.finish(60)
    with service.load(mode="new", rate=100, seconds=3) as running:
        after = running.wait(30)
    print(f"{alone.counts['ok'] / 4:.0f}/s are its capacity; at twice the load: {over.counts}")
    assert over.counts["503_retry_after"] > 0, "the load was not too much"
    assert over.counts["ok"] + over.counts["503_retry_after"] == sum(over.counts.values())
    # To refuse a request is not for free.
    assert over.counts["ok"] > alone.counts["ok"] / 2
    assert healthy(after)


@pytest.mark.timed
def test_1024_may_wait_and_the_next_one_gets_503(engine: Engine, tmp_path: Path) -> None:
    service = Service(engine, tmp_path, env={"WEB_CONCURRENCY": "1", "THREADS": "1"})
    # One that is worked on, and those that wait; nobody is answered.
    with service.load("/hang", connections=1025, requests=1025, timeout=60):
        wait_for(lambda: connections(service.container) == 1025, 15, "all to be connected")
        time.sleep(1)
        next_one = service.container.get()
        assert connections(service.container) >= 1025
    assert next_one.status_code == 503
    assert "The server is too busy." in next_one.text
    assert int(next_one.headers["Retry-After"]) > 0


def connections(container: Container) -> int:
    """How many connections clients have to port 80 of a container."""
    rows = [
        line.split() for line in Path(f"/proc/{container.pid}/net/tcp").read_text().splitlines()
    ]
    return sum(row[1].endswith(":0050") and row[3] == "01" for row in rows)


@pytest.mark.timed
def test_nobody_waits_for_the_answers_to_those_who_left(engine: Engine, tmp_path: Path) -> None:
    service = Service(engine, tmp_path, nano_cpus=500_000_000)
    # Half a CPU does some fifty of these a second: for the others, it would take ten seconds more.
    with service.load("/work", mode="new", rate=200, timeout=1) as running:
        time.sleep(4)
        left = running.finish(30).counts["timeout"]
    begun = time.monotonic()
    assert service.container.get("/", timeout=30).status_code == 200
    print(f"{left} left; then one was answered in {time.monotonic() - begun:.1f} s")
    assert left > 300
    assert_within(2, time.monotonic() - begun)


@pytest.mark.timed
@pytest.mark.parametrize(
    "reader",
    [pytest.param("true </tmp/log", id="closed"), *at_night("sleep 1000 </tmp/log")],
)
def test_a_log_that_nobody_reads(engine: Engine, tmp_path: Path, reader: str) -> None:
    script = f"mkfifo /tmp/log; {reader} & exec {ENTRY} >/tmp/log 2>&1"
    service = Service(engine, tmp_path, command=["bash", "-c", script])
    with service.load(mode="keepalive", rate=300) as running:
        time.sleep(4)
        result = running.finish()
    # Far more than a pipe holds, 64 KB.
    assert result.counts["ok"] > 900
    assert healthy(result), result.counts


def test_a_full_disk_cuts_no_response_of_a_fast_client(engine: Engine, tmp_path: Path) -> None:
    service = Service(
        engine, tmp_path, tmpfs={"/run/docker-flask": "size=1m,uid=33,gid=33,mode=700"}
    )
    url = service.container.url("/")
    small = httpx.post(url, content=b"x" * 1000)
    assert small.status_code == 200
    large = httpx.post(url, content=b"x" * 8_000_000, timeout=20)
    assert large.status_code == 507
    service.container.wait_for_log("No space left on device")
    download = service.container.get("/bytes?n=20000000", timeout=30)
    assert download.status_code == 200
    assert len(download.content) > 20_000_000
    assert httpx.post(url, content=b"x" * 1000).status_code == 200


@pytest.mark.timed
@pytest.mark.parametrize(
    "options",
    [
        {"ulimits": [{"name": "nofile", "soft": 64, "hard": 64}]},
        {"ulimits": [{"name": "nofile", "soft": MOST_FILES, "hard": MOST_FILES}]},
        {"sysctls": {"net.core.somaxconn": "16"}},
        {"pids_limit": 20},
    ],
    ids=["few descriptors", "most descriptors", "short backlog", "few processes"],
)
def test_tight_limits(engine: Engine, tmp_path: Path, options: dict[str, Any]) -> None:
    try:
        service = Service(engine, tmp_path, **options)
    except APIError as error:
        pytest.skip(f"this engine may not set {options}: {error.explanation}")
    with service.load(mode="new", rate=50) as running:
        time.sleep(2)
        service.container.reload()
        result = running.finish()
    assert healthy(result), result.counts
    memory = written_memory(service.container)
    assert memory < 400 << 20, f"{memory >> 20} MiB of {IMAGE}"


@pytest.mark.parametrize("command", [[], DEBUG], ids=["production", "debug"])
def test_an_engine_that_is_too_old(engine: Engine, command: list[str]) -> None:
    """Before 20.10.10, Docker refuses a system call by which libc starts threads."""
    refused = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]})
    container = engine.run(command, security_opt=[f"seccomp={profile}"])
    code, out, err = container.finish()
    assert (code, out, len(err.splitlines())) == (77, "", 1)
    assert "can't start new thread: use Docker 20.10.10 or newer" in err
