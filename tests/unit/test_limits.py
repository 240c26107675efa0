"""Limits: what the container may use, read from files made for the purpose."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from docker_flask.configuration import limits

MIB = 1 << 20
CPUS = len(os.sched_getaffinity(0))
TOTAL = 4096 * MIB
QUARTER = "25000 100000\n"  # of a CPU: below the affinity of any machine
V1_UNLIMITED = "9223372036854771712\n"
V1_CGROUP = "5:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:{path}\n"

Files = dict[str, str]


def read(root: Path, files: Files) -> limits.Limits:
    """The limits of a machine with these files below /proc and /sys."""
    files = {"proc/meminfo": f"MemFree: 1 kB\nMemTotal: {TOTAL // 1024} kB\n", **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return limits.read(root)


V2 = {"proc/self/cgroup": "0::/\n"}
# Version 2 with the host's view: a nested path.
V2_NESTED = {"proc/self/cgroup": "0::/docker/1\n"}
V1 = {"proc/self/cgroup": V1_CGROUP.format(path="/docker/1")}
V1_ROOT = {"proc/self/cgroup": V1_CGROUP.format(path="/")}


def v2(name: str, text: str, below: str = "") -> Files:
    return {f"sys/fs/cgroup/{below}{name}": text}


def v1_cpu(quota: str, below: str = "") -> Files:
    folder = f"sys/fs/cgroup/cpu/{below}"
    return {f"{folder}cpu.cfs_quota_us": quota, f"{folder}cpu.cfs_period_us": "100000\n"}


def v1_memory(text: str, below: str = "") -> Files:
    return {f"sys/fs/cgroup/memory/{below}memory.limit_in_bytes": text}


HALF = "50000 100000\n"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        (V2 | v2("cpu.max", QUARTER), 0.25),
        (V2_NESTED | v2("cpu.max", QUARTER, "docker/1/") | v2("cpu.max", HALF), 0.25),
        (V1 | v1_cpu("25000\n"), 0.25),
        (V1 | v1_cpu("25000\n", "docker/1/") | v1_cpu("50000\n"), 0.25),
    ],
    ids=["v2", "v2 nested", "v1", "v1 nested"],
)
def test_cpu_quota(tmp_path: Path, files: Files, cpus: float) -> None:
    found = read(tmp_path, files)
    assert (found.cpus, found.cpus_reason) == (cpus, f"cgroup quota of {cpus:g} CPUs")
    assert found.whole_cpus == 1


def test_the_file_that_says_how_long_the_quota_stopped_the_container(tmp_path: Path) -> None:
    assert limits.cpu_statistics(tmp_path) == ""
    of_container = "sys/fs/cgroup/cpu/cpu.stat"
    read(tmp_path, {"proc/self/cgroup": V1_CGROUP.format(path="/docker/1"), of_container: ""})
    assert limits.cpu_statistics(tmp_path) == f"{tmp_path}/{of_container}"


NO_QUOTA: dict[str, Files] = {
    "no cgroup file": {},
    "v2 max": V2 | v2("cpu.max", "max 100000\n"),
    "v2 above the machine": V2 | v2("cpu.max", "1000000000 100000\n"),
    "v1 none": V1_ROOT | v1_cpu("-1\n"),
    "v1 no period": V1_ROOT | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n"},
}


@pytest.mark.parametrize("files", NO_QUOTA.values(), ids=NO_QUOTA)
def test_without_a_quota_the_affinity_counts(tmp_path: Path, files: Files) -> None:
    found = read(tmp_path, files)
    assert (found.cpus, found.cpus_reason) == (
        float(CPUS),
        f"affinity to {CPUS} CPU{'s' * (CPUS > 1)}",
    )
    assert found.whole_cpus == CPUS


def test_affinity_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 5})
    assert read(tmp_path, {}).cpus == 3
    quota = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}
    found = read(tmp_path, quota)
    assert (found.cpus, found.whole_cpus) == (2.5, 3)


OF_256 = f"{256 * MIB}\n"
LIMITED: dict[str, Files] = {
    "v2": V2 | v2("memory.max", OF_256),
    "v2 nested": V2_NESTED | v2("memory.max", OF_256, "docker/1/") | v2("memory.max", "max\n"),
    "v1": V1 | v1_memory(OF_256),
    "v1 nested": V1 | v1_memory(OF_256, "docker/1/") | v1_memory(V1_UNLIMITED),
}


@pytest.mark.parametrize("files", LIMITED.values(), ids=LIMITED)
def test_memory_limit(tmp_path: Path, files: Files) -> None:
    found = read(tmp_path, files)
    assert (found.memory, found.memory_reason) == (256 * MIB, "cgroup limit of 256 MiB")


UNLIMITED: dict[str, Files] = {
    "no files": {},
    "v2 max": V2 | v2("memory.max", "max\n"),
    "v2 above the machine": V2 | v2("memory.max", f"{2 * TOTAL}\n"),
    "v1 unlimited": V1_ROOT | v1_memory(V1_UNLIMITED),
}


@pytest.mark.parametrize("files", UNLIMITED.values(), ids=UNLIMITED)
def test_without_a_memory_limit_the_machine_counts(tmp_path: Path, files: Files) -> None:
    found = read(tmp_path, files)
    assert (found.memory, found.memory_reason) == (TOTAL, "machine's 4096 MiB")


@pytest.mark.parametrize(
    ("hard", "descriptors"),
    [
        (resource.RLIM_INFINITY, 65_536),
        (1_073_741_816, 65_536),
        (1_024, 1_024),
    ],
)
def test_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: int, descriptors: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (min(hard, 1_024), hard))
    assert read(tmp_path, {}).descriptors == descriptors


def test_descriptors_are_bounded_for_children() -> None:
    """In a child, because it can't be undone."""
    child = os.fork()
    if child == 0:
        found = limits.read()
        limits.bound_descriptors(found)
        held = resource.getrlimit(resource.RLIMIT_NOFILE) == (found.descriptors,) * 2
        os._exit(0 if held and found.descriptors <= 65_536 else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("files", "backlog"),
    [
        ({}, 128),
        ({"proc/sys/net/core/somaxconn": "128\n"}, 128),
        ({"proc/sys/net/core/somaxconn": "65535\n"}, 4_096),
    ],
    ids=["unknown", "small", "large"],
)
def test_backlog(tmp_path: Path, files: Files, backlog: int) -> None:
    assert read(tmp_path, files).backlog == backlog


@pytest.mark.parametrize(
    ("files", "processes"),
    [
        ({}, 0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/pids.max": "max\n"}, 0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/pids.max": "64\n"}, 64),
        (
            {
                "proc/self/cgroup": "5:pids:/docker/1\n",
                "sys/fs/cgroup/pids/docker/1/pids.max": "64\n",
                "sys/fs/cgroup/pids/pids.max": "max\n",
            },
            64,
        ),
    ],
    ids=["unknown", "v2 max", "v2", "v1 nested"],
)
def test_processes(tmp_path: Path, files: Files, processes: int) -> None:
    assert read(tmp_path, files).processes == processes
