"""What the kernel's details say, and the answer where a sandbox or an emulator lacks them."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docker_flask.cli import health
from docker_flask.plan import limits
from docker_flask.shared import paths, process
from docker_flask.supervisor import connections

# /proc/PID/stat as qemu's user emulation writes it: 44 fields, most of them 0.
QEMU = " ".join(["1", "(a) b)", "S", *["0"] * 41])


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The only files of /proc and /sys that there are: path -> text."""
    files: dict[str, str] = {}

    def reading(original: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if not str(path).startswith(("/proc/", "/sys/")):
                return original(path, mode, *more, **options)
            if str(path) not in files:
                raise FileNotFoundError(2, "not in this sandbox", str(path))
            text = files[str(path)]
            return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)

        return read

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", reading(io.open))
    return files


@pytest.mark.usefixtures("proc")
def test_no_tables_of_connections() -> None:
    assert connections.to_port(80) == connections.to_port(80, connections.SYN_RECEIVED) == 0
    assert connections.to_socket(Path("/run/app.sock")) == 0


def test_tables_with_other_rows(proc: dict[str, str]) -> None:
    heading = "  sl  local_address rem_address   st\n"
    proc["/proc/net/tcp"] = f"{heading} 0: 00000000:0050 0:0 01\n 1: 00000000:0050\n\n"
    assert connections.to_port(80) == 1
    proc["/proc/net/unix"] = "Num\n0: 2 0 00010000 1 1 9 /run/a\n0: 3 0 0 1 3 9 /run/a\n0: 3\n"
    assert connections.to_socket(Path("/run/a")) == 1


def test_processes_that_the_kernel_does_not_describe(proc: dict[str, str]) -> None:
    pid = os.getpid()
    assert process.states({os.getpgid(0), 0}) == {}
    assert process.own_memory(pid) == 0
    assert process.ran(pid) == 0.0
    proc[f"/proc/{pid}/stat"] = "1 (a"
    assert process.states({os.getpgid(0), 0}) == {}
    assert process.ran(pid) == 0.0


def test_processes_in_an_emulator(proc: dict[str, str]) -> None:
    pid = os.getpid()
    proc[f"/proc/{pid}/stat"] = QEMU
    assert process.states({0}) == {pid: "S"}


def test_a_command_of_the_image(proc: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["1", "20", "self"])
    assert not health.find_command()
    proc["/proc/1/cmdline"] = "/sbin/docker-init\0--\0sleep\0"
    proc["/proc/20/cmdline"] = f"{paths.TINI}\0--\0sleep\0"
    assert health.find_command(), "also without cgroups"
    proc["/proc/self/cgroup"] = proc["/proc/20/cgroup"] = "0::/a\n"
    assert health.find_command()
    proc["/proc/20/cgroup"] = "0::/../b\n"
    assert not health.find_command(), "of another container"


@pytest.mark.usefixtures("proc")
def test_no_limits_and_no_statistics(tmp_path: Path) -> None:
    found = limits.read(tmp_path)
    assert found.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found.cpus == len(os.sched_getaffinity(0))
    assert (found.processes, found.backlog) == (0, 128)
    assert paths.container() == ("", os.uname().nodename[:16])
