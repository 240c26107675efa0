"""Runs a command inside a container's network namespace.

A published port may be answered by a proxy of the container engine, which accepts a connection
before the container does: a refusal then looks like a loss.
"""

from __future__ import annotations


def command_in_netns(pid: int, argv: list[str]) -> list[str]:
    """The command line that runs `argv` in the network of process `pid`, as the host numbers it.

    Needs root. The command keeps the namespace alive, so it outlives the container.
    """
    if pid <= 0:
        raise ValueError(
            f"no running process: pid {pid}"
        )  # the engine's pid of a stopped container
    return ["nsenter", "--target", str(pid), "--net", "--", *argv]
