"""Child processes: start, signal, reap and measure them."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any

FIRST_DESCRIPTOR = 3


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    own_group: bool = True,
) -> int:
    """Start a command; returns its pid. Raises OSError.

    descriptors: the child inherits them as 3, 4, ... in this order. own_group: start a new process
    group. The child starts with no signal blocked or ignored, unlike the supervisor.
    """
    group: dict[str, Any] = {"setpgroup": 0} if own_group else {}
    # Copy all descriptors above the child's numbers first, so that no dup2 overwrites another one.
    above = FIRST_DESCRIPTOR + len(descriptors)
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in descriptors]
    try:
        return os.posix_spawn(
            command[0],
            list(command),
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, FIRST_DESCRIPTOR + i) for i, fd in enumerate(aside)
            ],
            setsigmask=[],
            # Python ignores these two signals, and a child inherits ignored signals.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            **group,
        )
    finally:
        for fd in aside:
            os.close(fd)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; does nothing if the process has ended, or pid is 0."""
    if not pid:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; does nothing if the group has ended, or is 0."""
    if not group:
        return  # the kernel would take 0 for the caller's own group
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def alive(pid: int) -> bool:
    """True while this user's process, or its zombie, exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def states(groups: Collection[int]) -> dict[int, str]:
    """The processes of these groups: pid -> state letter of proc(5), zombies left out."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            # The name, in parentheses, may contain any character: read the fields after it.
            state, _, group = file.read().rpartition(b")")[2].split()[:3]
            if int(group) in groups and state != b"Z":
                found[int(name)] = state.decode()
    return found


def first_ancestor(pid: int) -> int:
    """1 for a process that process 1 or its children started, 0 for one of `docker exec`."""
    while pid > 1:
        with open(f"/proc/{pid}/stat", "rb") as file:
            pid = int(file.read().rpartition(b")")[2].split()[1])
    return pid


def reap() -> list[tuple[int, int]]:
    """Collect all ended children, including the orphans that PID 1 inherits: (pid, status)."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, status))
    return ended


def describe(status: int) -> str:
    """A wait status in words: `exited with code 1`, `was killed by SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was killed by {name}"


def any_left() -> bool:
    """True while this process has children, including zombies."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def ran(pid: int) -> float:
    """Seconds that a process's threads ran or waited for a CPU; infinite if unknown."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += sum(map(int, file.read().split()[:2]))
    except FileNotFoundError:
        return math.inf if alive(pid) else 0.0
    except OSError:  # the process has just ended
        return 0.0
    return total / 1e9


def own_memory(pid: int) -> int:
    """Bytes of private memory (no files): about the cost of another process of this kind."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_Dirty:"))
    return 0
