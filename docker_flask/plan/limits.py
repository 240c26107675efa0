"""The limits of this container: CPUs, memory, open files, backlog and processes; and memory that
runs out."""

import math
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from docker_flask.shared import paths

# uWSGI allocates memory for each possible descriptor: 8 GB with the 1073741816 descriptors that
# some engines allow (https://github.com/unbit/uwsgi/issues/2299). 65,536 is four times the number
# that nginx uses with its default number of connections.
MAX_DESCRIPTORS = 65_536
# Linux's default for somaxconn since 5.4. In a longer queue, clients only wait longer.
MAX_BACKLOG = 4_096
# Files with the memory that a cgroup uses, of version 2 and of version 1.
_USED = "memory.current", "memory.usage_in_bytes"


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
    somaxconn = _number(_lines(root / "proc/sys/net/core/somaxconn")) or 128
    return Limits(
        cpus=cpus,
        cpus_reason=cpus_reason,
        memory=memory,
        memory_reason=memory_reason,
        descriptors=ceiling,
        backlog=min(somaxconn, MAX_BACKLOG),
        processes=_number(_cgroup(root, "pids", "pids.max")),
    )


class MemoryWatch:
    """Says when memory runs out: the kernel writes this into the log of the machine only.

    limit: bytes. last_kill: when a kill was noticed last, 0.0 if none was.
    """

    def __init__(self, limits: Limits, root: Path = Path("/")) -> None:
        self._reason = (
            f"the kernel killed a process, because memory ran out ({limits.memory_reason}); raise "
            "the limit (docker run -m), or set a smaller WEB_CONCURRENCY or MAX_WORKER_MEMORY"
        )
        self.limit, self._where = limits.memory, limits.memory_reason
        self._root = root
        # The second name is that of cgroup version 1.
        self._events = _cgroup_file(root, "memory", "memory.events", "memory.oom_control")
        self._before = self._counted = self._count()
        self.last_kill = 0.0

    def killed(self) -> str:
        """Why the kernel has killed a process since the last call; empty if it has not."""
        before, self._counted = self._counted, self._count()
        if self._counted <= before:
            return ""
        self.last_kill = time.time()
        return self._reason

    @property
    def kills(self) -> int:
        """Processes that the kernel has killed since the start."""
        return self._counted - self._before

    def _count(self) -> int:
        return _counters(self._events).get("oom_kill", 0)

    def free(self) -> int:
        """Bytes of memory that processes of this container can still get."""
        used = _number(_lines(_cgroup_file(self._root, "memory", *_USED)))
        stat = _counters(_cgroup_file(self._root, "memory", "memory.stat"))
        # The kernel takes these bytes from its cache of files. Version 1 adds up the cgroups below.
        cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        of_machine = _counters(self._root / "proc/meminfo").get("MemAvailable:", 0) << 10
        return max(0, min(self.limit - used + cache, of_machine or self.limit))

    def why_no_room(self, workers: int, size: int) -> str:
        """Why the memory does not hold these additional workers; empty if it does."""
        free, needed = self.free(), workers * size
        if needed <= free:
            return ""
        return (
            f"{workers} x {math.ceil(size / (1 << 20))} MiB are needed, and "
            f"{free >> 20} MiB are free ({self._where})"
        )


def _cpus(root: Path) -> tuple[float, str]:
    affinity = len(os.sched_getaffinity(0))
    fields = _cgroup(root, "cpu", "cpu.max") or [
        *_cgroup(root, "cpu", "cpu.cfs_quota_us"),
        *_cgroup(root, "cpu", "cpu.cfs_period_us"),
    ]
    # Without a quota: "max", or -1 in version 1.
    if len(fields) == 2 and fields[0].isdigit():
        quota = int(fields[0]) / int(fields[1])
        if quota < affinity:
            return quota, f"cgroup quota of {_in_words(quota)}"
    return float(affinity), f"affinity to {_in_words(affinity)}"


def _in_words(cpus: float) -> str:
    return f"{cpus:g} CPU" + ("s" if cpus != 1 else "")


def _memory(root: Path) -> tuple[int, str]:
    total = _counters(root / "proc/meminfo").get("MemTotal:", 0) << 10
    total = total or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _number(_cgroup(root, "memory", "memory.max"))
    limit = limit or _number(_cgroup(root, "memory", "memory.limit_in_bytes"))
    # Version 1 says "no limit" with a number near 2**63, larger than any machine.
    if 0 < limit < total:
        return limit, f"cgroup limit of {limit >> 20} MiB"
    return total, f"machine's {total >> 20} MiB"


def _counters(file: Path) -> dict[str, int]:
    """The numbers of a file whose lines begin with a name and a number."""
    rows = (line.split() for line in _lines(file))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _cgroup_file(root: Path, controller: str, *names: str) -> Path:
    """A file of this container's cgroup, in its own namespace or in the host's; or /dev/null."""
    mount = root / "sys/fs/cgroup"
    folders = [mount, mount / controller]
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            folders.insert(0, mount / path.lstrip("/"))
        elif controller in controllers.split(","):
            folders.insert(0, mount / controller / path.lstrip("/"))
    files = (folder / name for name in names for folder in folders)
    return next(filter(_lines, files), Path(os.devnull))


def _cgroup(root: Path, controller: str, name: str) -> list[str]:
    """The fields of a file of this container's cgroup."""
    return " ".join(_lines(_cgroup_file(root, controller, name))).split()


def _lines(path: Path) -> list[str]:
    return paths.read(path).decode().splitlines()


def _number(fields: list[str]) -> int:
    """The first field; 0 if it is no number."""
    return int(fields[0]) if fields and fields[0].isdigit() else 0
