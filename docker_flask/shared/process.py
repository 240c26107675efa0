"""Child processes: start, signal, reap and measure them."""

import contextlib
import fcntl
import glob
import os
import resource
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from docker_flask.shared import paths

FIRST_DESCRIPTOR = 3


class Output(NamedTuple):
    """What a program has written; code: its exit code, negative if a signal ended it."""

    code: int
    out: str
    errors: str


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    own_group: bool = True,
    outputs: Sequence[int] = (),
) -> int:
    """Start a command; returns its pid. Raises OSError.

    descriptors: the child inherits them as 3, 4, ... in this order. own_group: start a new process
    group. outputs: the child's stdout and stderr, if they are not those of this process. The child
    starts with no signal blocked or ignored, unlike the supervisor.
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
                *((os.POSIX_SPAWN_DUP2, fd, 1 + i) for i, fd in enumerate(outputs)),
                *((os.POSIX_SPAWN_DUP2, fd, FIRST_DESCRIPTOR + i) for i, fd in enumerate(aside)),
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
    """Send a signal to a child; does nothing if it was reaped, because others may have its pid."""
    with contextlib.suppress(ChildProcessError):
        if pid:  # the kernel would take 0 for the caller's own group
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.kill(pid, number)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group of this session; does nothing if it has ended, or is 0."""
    with contextlib.suppress(ProcessLookupError):
        if group and os.getsid(0) in map(os.getsid, states({group})):
            os.killpg(group, number)


def alive(pid: int) -> bool:
    """True while this user's process, or its zombie, exists."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # another user's process has its pid
        return False
    return True


def states(groups: Collection[int]) -> dict[int, str]:
    """The processes of these groups: pid -> state letter of proc(5), zombies left out."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        # The second field, a name in parentheses, may contain any character.
        fields = paths.read(f"/proc/{name}/stat").rpartition(b")")[2].decode().split()
        if len(fields) > 2 and int(fields[2]) in groups and fields[0] != "Z":
            found[int(name)] = fields[0]
    return found


def children(pid: int) -> list[int]:
    """The children of a process whose first thread starts all of them."""
    found = paths.read(f"/proc/{pid}/task/{pid}/children").split()
    # A kernel without this file has a scan of all processes; `pid` leads a group.
    return [int(child) for child in found] or [child for child in states({pid}) if child != pid]


def reap() -> list[tuple[int, int]]:
    """Collect all ended children, including the orphans that PID 1 inherits: (pid, status)."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(child)
    return ended


def describe(status: int) -> str:
    """A wait status in words: `exited with code 1`, `was killed by SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    # A real-time signal has no name.
    name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
    return f"was killed by {name}"


def any_left() -> bool:
    """True while this process has children, including zombies."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def ran(pid: int) -> float:
    """Seconds that a process's threads ran or waited for a CPU; 0 if the kernel does not say it."""
    files = map(paths.read, glob.glob(f"/proc/{pid}/task/*/schedstat"))
    return sum(int(number) for file in files for number in file.split()[:2]) / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process uses, files and shared pages included."""
    pages = paths.read(f"/proc/{pid}/statm").split()
    return int(pages[1]) * resource.getpagesize() if len(pages) > 1 else 0


def own_memory(pid: int) -> int:
    """Bytes of private memory (no files): about the cost of another process of this kind."""
    lines = paths.read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(b"Private_Dirty:"))
