"""The loop (descriptors, time) and child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from docker_flask.shared import process
from docker_flask.shared.loop import Interrupt, Loop
from tests.support.harness import wait_for

# --- the loop --------------------------------------------------------------------------------


def test_a_wait_ends_when_it_is_done_or_its_time_is_up(loop: Loop) -> None:
    assert loop.wait(lambda: True, 0)
    begun = time.monotonic()
    assert not loop.wait(lambda: False, 0.2)
    assert loop.wait(lambda: time.monotonic() > begun + 0.3, 5, tick=0.02)
    assert 0.3 <= time.monotonic() - begun < 0.5


def test_callbacks_of_descriptors(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heard: list[bytes] = []
        loop.watch(ours, lambda: heard.append(ours.recv(10)))
        theirs.send(b"one")
        begun = time.monotonic()
        assert loop.wait(lambda: heard == [b"one"], 5)
        assert time.monotonic() - begun < 0.5
        loop.forget(ours)
        theirs.send(b"two")
        assert not loop.wait(lambda: len(heard) > 1, 0.1)

        def leave() -> None:
            raise Interrupt("told to leave")

        loop.watch(ours, leave)
        with pytest.raises(Interrupt, match="told to leave"):
            loop.wait(lambda: False, 5)


def test_what_comes_quietly_does_not_end_a_turn(loop: Loop) -> None:
    """But its callback runs, also beside something else."""
    end, pipe = os.pipe()
    ours, theirs = socket.socketpair()
    try:
        heard: list[bytes] = []
        loop.watch_quietly(end, lambda: heard.append(os.read(end, 10)))
        os.write(pipe, b"quiet")
        begun = time.monotonic()
        loop.turn(0.2)
        assert (heard, time.monotonic() - begun >= 0.2) == ([b"quiet"], True)
        loop.watch(ours, lambda: heard.append(ours.recv(10)))
        os.write(pipe, b"quiet")
        theirs.send(b"news")
        loop.turn(30)
        assert sorted(heard) == [b"news", b"quiet", b"quiet"]
        loop.forget(end)
        loop.watch(end, lambda: heard.append(os.read(end, 10)))
        os.write(pipe, b"loud")
        loop.turn(30)
        assert heard[-1] == b"loud"
    finally:
        loop.forget(end)
        for descriptor in (end, pipe):
            os.close(descriptor)
        theirs.close()


# --- processes -------------------------------------------------------------------------------


@contextlib.contextmanager
def child(*command: str, **options: Any) -> Iterator[int]:
    """A child that is gone at the end of the block."""
    pid = process.spawn(list(command), dict(os.environ), **options)
    try:
        yield pid
    finally:
        process.signal_process(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_parent_keeps_no_copies() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with open(os.devnull) as file, child("/bin/true", descriptors=[file.fileno()] * 3):
        pass
    with open(os.devnull) as file, pytest.raises(FileNotFoundError):
        process.spawn(["/no/such/program"], {}, [file.fileno()])
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 7", "exited with code 7"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("kill -40 $$", "was killed by signal 40"),  # a real-time signal that has no name
    ],
)
def test_describe(command: str, words: str) -> None:
    pid = process.spawn(["/bin/bash", "-c", command], dict(os.environ))
    assert process.describe(os.waitpid(pid, 0)[1]) == words


def test_a_pid_that_others_have_now_gets_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a child which was reaped: a process of somebody else's, in a session of its own."""
    another = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        process.signal_group(another.pid, signal.SIGKILL)
        monkeypatch.setattr(os, "waitid", raising(ChildProcessError()))
        process.signal_process(another.pid, signal.SIGKILL)
        monkeypatch.setattr(os, "kill", raising(PermissionError()))
        assert not process.alive(another.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            another.wait(0.2)
    finally:
        monkeypatch.undo()
        another.kill()
        another.wait()


def raising(error: OSError) -> Callable[..., None]:
    def function(*_: Any) -> None:
        raise error

    return function


def test_a_group_ends_as_a_whole() -> None:
    with child("/bin/sh", "-c", "sleep 60 & sleep 60 & wait") as leader:
        wait_for(lambda: len(process.states({leader})) == 3, 5, "three processes")
        process.signal_group(leader, signal.SIGSTOP)
        wait_for(lambda: {*process.states({leader}).values()} == {"T"}, 5, "a stop")
        process.signal_group(leader, signal.SIGKILL)
        wait_for(lambda: not process.states({leader}), 5, "the end")
