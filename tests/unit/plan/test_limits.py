"""Limits: what the container may use, read from files made for the purpose."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from docker_flask.plan import limits
from tests.support.harness import write_files

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
    return limits.read(write_files(root, files))


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
OF_256 = f"{256 * MIB}\n"
QUOTA = (0.25, "cgroup quota of 0.25 CPUs")
AFFINITY = (float(CPUS), f"affinity to {CPUS} CPU{'s' * (CPUS > 1)}")
LIMIT = (256 * MIB, "cgroup limit of 256 MiB")
MACHINE = (TOTAL, "machine's 4096 MiB")


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        (V2 | v2("cpu.max", QUARTER), QUOTA),
        (V2_NESTED | v2("cpu.max", QUARTER, "docker/1/") | v2("cpu.max", HALF), QUOTA),
        (V1 | v1_cpu("25000\n"), QUOTA),
        (V1 | v1_cpu("25000\n", "docker/1/") | v1_cpu("50000\n"), QUOTA),
        # Without a quota, the affinity counts.
        ({}, AFFINITY),
        (V2 | v2("cpu.max", "max 100000\n"), AFFINITY),
        (V2 | v2("cpu.max", "1000000000 100000\n"), AFFINITY),
        (V1_ROOT | v1_cpu("-1\n"), AFFINITY),
        (V1_ROOT | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n"}, AFFINITY),
    ],
)
def test_cpus(tmp_path: Path, files: Files, cpus: tuple[float, str]) -> None:
    found = read(tmp_path, files)
    assert (found.cpus, found.cpus_reason) == cpus
    assert found.whole_cpus == (1 if cpus == QUOTA else CPUS)


def test_affinity_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 5})
    assert read(tmp_path, {}).cpus == 3
    found = read(tmp_path, V2 | v2("cpu.max", "250000 100000\n"))
    assert (found.cpus, found.whole_cpus) == (2.5, 3)


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        (V2 | v2("memory.max", OF_256), LIMIT),
        (V2_NESTED | v2("memory.max", OF_256, "docker/1/") | v2("memory.max", "max\n"), LIMIT),
        (V1 | v1_memory(OF_256), LIMIT),
        (V1 | v1_memory(OF_256, "docker/1/") | v1_memory(V1_UNLIMITED), LIMIT),
        # Without a limit, the machine counts.
        ({}, MACHINE),
        (V2 | v2("memory.max", "max\n"), MACHINE),
        (V2 | v2("memory.max", f"{2 * TOTAL}\n"), MACHINE),
        (V1_ROOT | v1_memory(V1_UNLIMITED), MACHINE),
    ],
)
def test_memory(tmp_path: Path, files: Files, memory: tuple[int, str]) -> None:
    found = read(tmp_path, files)
    assert (found.memory, found.memory_reason) == memory


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


def test_backlog(tmp_path: Path) -> None:
    assert read(tmp_path, {}).backlog == 128
    for text, backlog in (("128\n", 128), ("65535\n", 4_096)):
        assert read(tmp_path, {"proc/sys/net/core/somaxconn": text}).backlog == backlog


V1_PIDS = {"proc/self/cgroup": "5:pids:/docker/1\n", "sys/fs/cgroup/pids/pids.max": "max\n"}


@pytest.mark.parametrize(
    ("files", "processes"),
    [
        ({}, 0),
        (V2 | v2("pids.max", "max\n"), 0),
        (V2 | v2("pids.max", "64\n"), 64),
        (V1_PIDS | {"sys/fs/cgroup/pids/docker/1/pids.max": "64\n"}, 64),
    ],
)
def test_processes(tmp_path: Path, files: Files, processes: int) -> None:
    assert read(tmp_path, files).processes == processes


# The kernel counts the kills of a container in one of these files.
EVENTS_V2 = "low 0\nhigh 0\nmax 31\noom 3\noom_kill {}\noom_group_kill 0\n"
EVENTS_V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2_CASE = (V2, "sys/fs/cgroup/memory.events", EVENTS_V2)
V1_CASE = (V1, "sys/fs/cgroup/memory/memory.oom_control", EVENTS_V1)


def watch(root: Path, files: Files) -> limits.MemoryWatch:
    found = read(root, {**files, **v2("memory.max", OF_256), **v1_memory(OF_256)})
    return limits.MemoryWatch(found, root)


@pytest.mark.parametrize(("files", "events", "text"), [V2_CASE, V1_CASE])
def test_the_kernel_killed_a_process(tmp_path: Path, files: Files, events: str, text: str) -> None:
    """Kills of an earlier start of the container do not count."""
    watched = watch(tmp_path, {**files, events: text.format(2)})
    assert watched.killed() == ""
    (tmp_path / events).write_text(text.format(4))
    reason = "the kernel killed a process, because memory ran out (cgroup limit of 256 MiB); raise "
    assert watched.killed().startswith(reason)
    assert watched.killed() == ""
    (tmp_path / events).unlink()
    assert watched.killed() == ""


def test_memory_that_nothing_counts(tmp_path: Path) -> None:
    assert watch(tmp_path, {}).killed() == ""
