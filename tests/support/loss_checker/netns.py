"""Runs a command inside a container's network namespace, beside the container's own processes.

From outside, a published port may be answered by a proxy of the container engine that accepts a
connection before it knows whether the container does: a refusal then looks like a loss.
"""

from __future__ import annotations


def command_in_netns(pid: int, argv: list[str]) -> list[str]:
    """The command line that runs `argv` in the network of process `pid` (a container's PID 1, as
    the host numbers it). Needs root; everything but the network stays the host's.

    The running command keeps the namespace alive. So a client started this way goes on, and goes
    on counting, after the container has stopped; it only has to be started while it still runs.
    """
    if pid <= 0:
        raise ValueError(f"no running process: pid {pid}")  # what an engine says of a stopped one
    return ["nsenter", "--target", str(pid), "--net", "--", *argv]
