"""Programs that process 1 runs for their output."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from docker_flask.shared import process
from docker_flask.shared.loop import Interrupt, Loop
from docker_flask.supervisor.programs import Programs
from docker_flask.supervisor.task import Steps, Task, complete


@pytest.fixture
def programs(loop: Loop) -> Iterator[Programs]:
    """Programs whose ends the loop notes, as process 1 does."""
    made = Programs()

    def reap() -> None:
        for ended in process.reap():
            made.ended(*ended)

    before = signal.getsignal(signal.SIGCHLD)
    loop.handle_signals({signal.SIGCHLD: reap})
    yield made
    assert loop.wait(lambda: not process.any_left(), 5, tick=0.02)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def shell(programs: Programs, line: str, seconds: float = 10) -> Steps[process.Output]:
    return programs.run(["/bin/sh", "-c", line], dict(os.environ), seconds)


def test_the_output_of_a_program(loop: Loop, programs: Programs) -> None:
    line = "head -c 3000000 /dev/zero; echo no >&2; exit 3"
    assert complete(loop, shell(programs, line)) == (3, "\0" * 3_000_000, "no\n")


def test_a_program_that_takes_too_long_is_killed(loop: Loop, programs: Programs) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        complete(loop, shell(programs, "sleep 60 & sleep 60", 0.2))
    with pytest.raises(FileNotFoundError):
        complete(loop, programs.run(["/no/such/program"], {}, 10))
    assert time.monotonic() - begun < 2
    # At the end of this test, nothing may be left.


@pytest.mark.parametrize("how", ["wait", "task"])
def test_a_stop_ends_a_program(loop: Loop, programs: Programs, how: str) -> None:
    steps = shell(programs, "sleep 60")
    if how == "task":
        task = Task(steps)  # type: ignore[arg-type]
        assert not task.advance()
        task.cancel()
        return
    ours, theirs = socket.socketpair()

    def stop() -> None:
        raise Interrupt

    with ours, theirs:
        loop.watch(ours, stop)
        theirs.send(b"stop")
        with pytest.raises(Interrupt):
            complete(loop, steps)
