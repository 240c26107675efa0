"""Child processes: how they start, what became of them, and how a whole group is ended."""

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
    """Start a command, in a process group of its own if not told otherwise; returns its pid.

    descriptors: handed over as 3, 4, ... in this order. The child starts with no signal blocked
    and none ignored, whatever the supervisor does with its own. Raises OSError.
    """
    group: dict[str, Any] = {"setpgroup": 0} if own_group else {}
    # Above all that the child gets, so that none overwrites another on its way.
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
            # Python ignores these two, and what is ignored stays so across exec.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            **group,
        )
    finally:
        for fd in aside:
            os.close(fd)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; nothing happens if it is gone, or is 0."""
    if not pid:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a whole process group; nothing happens if it is gone, or is 0."""
    if not group:
        return  # for the kernel, 0 would be the caller's own group
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def alive(pid: int) -> bool:
    """True while a process of this user, or a zombie of it, exists."""
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
            # The name, in parentheses, may hold anything, so the fields are counted behind it.
            state, _, group = file.read().rpartition(b")")[2].split()[:3]
            if int(group) in groups and state != b"Z":
                found[int(name)] = state.decode()
    return found


def reap() -> list[tuple[int, int]]:
    """Collect every child that has ended, orphans handed to PID 1 included: (pid, status)."""
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
    """True while this process has children, ended ones that were not reaped included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def ran(pid: int) -> float:
    """Seconds for which a process's threads ran or waited for a CPU; infinite if nobody counts."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += sum(map(int, file.read().split()[:2]))
    except FileNotFoundError:
        return math.inf if alive(pid) else 0.0
    except OSError:  # it has just ended
        return 0.0
    return total / 1e9


def own_memory(pid: int) -> int:
    """Bytes that only this process has, and no file: what one more like it would take."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_Dirty:"))
    return 0
