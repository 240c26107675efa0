"""The limits of this container: CPUs, memory, open files, backlog and processes."""

from __future__ import annotations

import math
import os
import resource
from dataclasses import dataclass
from pathlib import Path

# uWSGI allocates memory for each possible descriptor: 8 GB with the 1073741816 descriptors that
# some engines allow (https://github.com/unbit/uwsgi/issues/2299). 65,536 is four times the number
# that nginx uses with its default number of connections.
MAX_DESCRIPTORS = 65_536
# Linux's default for somaxconn since 5.4. In a longer queue, clients only wait longer.
MAX_BACKLOG = 4_096


@dataclass(frozen=True)
class Limits:
    """The resources of this container.

    cpus: may be a fraction; memory: bytes; descriptors: open files per process; backlog:
    connections in a socket's queue; processes: processes and threads, 0 for no limit.
    The `_reason` fields say which limit decided the number.
    """

    cpus: float
    cpus_reason: str
    memory: int
    memory_reason: str
    descriptors: int
    backlog: int
    processes: int = 0

    @property
    def whole_cpus(self) -> int:
        """CPUs rounded up: processes that can run at the same time."""
        return max(1, math.ceil(self.cpus))


def read(root: Path = Path("/")) -> Limits:
    """Read the limits of this container; root: of the file system, for tests."""
    cpus, cpus_reason = _cpus(root)
    memory, memory_reason = _memory(root)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    somaxconn = _number(root / "proc/sys/net/core/somaxconn") or 128
    return Limits(
        cpus=cpus,
        cpus_reason=cpus_reason,
        memory=memory,
        memory_reason=memory_reason,
        descriptors=ceiling,
        backlog=min(int(somaxconn), MAX_BACKLOG),
        processes=_processes(root),
    )


def bound_descriptors(limits: Limits) -> None:
    """Set the limit of descriptors for this process and its children."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.descriptors, limits.descriptors))


def _cpus(root: Path) -> tuple[float, str]:
    affinity = len(os.sched_getaffinity(0))
    quota = _cpu_quota(root)
    if quota is not None and quota < affinity:
        return quota, f"cgroup quota of {_in_words(quota)}"
    return float(affinity), f"affinity to {_in_words(affinity)}"


def _in_words(cpus: float) -> str:
    return f"{cpus:g} CPU" + ("s" if cpus != 1 else "")


def _cpu_quota(root: Path) -> float | None:
    """CPUs of the cgroup quota, version 2 first; None without a quota."""
    for folder in _cgroup_folders(root, "cpu"):
        fields = _fields(folder / "cpu.max")
        if len(fields) == 2 and fields[0].isdigit():
            return int(fields[0]) / int(fields[1])
        quota = _number(folder / "cpu.cfs_quota_us")
        period = _number(folder / "cpu.cfs_period_us")
        if quota and period and quota > 0:
            return quota / period
    return None


def _memory(root: Path) -> tuple[int, str]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    for folder in _cgroup_folders(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        # Version 1 says "no limit" with a number near 2**63, larger than any machine.
        if limit and limit < total:
            return int(limit), f"cgroup limit of {int(limit) >> 20} MiB"
    return total, f"machine's {total >> 20} MiB"


def _processes(root: Path) -> int:
    for folder in _cgroup_folders(root, "pids"):
        limit = _number(folder / "pids.max")
        if limit:
            return int(limit)
    return 0


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Possible folders of this container's cgroup, in its own namespace or in the host's."""
    mount = root / "sys/fs/cgroup"
    folders = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            folders.append(mount / path.lstrip("/"))
        elif controller in controllers.split(","):
            folders.append(mount / controller / path.lstrip("/"))
    return [*folders, mount, mount / controller]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _fields(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(path: Path) -> float | None:
    fields = _fields(path)
    try:
        return float(fields[0]) if fields else None
    except ValueError:
        return None
