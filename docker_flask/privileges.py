"""The user that a container runs as, and the access of that user.

`leave_root.c` changes from root to that user before Python starts, and says who that is. What is
here makes sure of it, and gives up what was left to bind ports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

EXIT_NOT_PERMITTED = 77  # EX_NOPERM in sysexits.h
LEAVE_ROOT = "/opt/docker-flask/leave-root"
_CAPABILITY_VERSION = 0x20080522  # the third, of three sets with 64 bits each: capset(2)


class NotPermitted(Exception):
    """The container lacks a privilege; the message says which, and what mends it."""

    code = EXIT_NOT_PERMITTED


def stays_root(environ: Mapping[str, str]) -> bool:
    """True if the user wants root; the same words as in leave_root.c."""
    return environ.get("RUN_AS_ROOT", "").lower() in ("1", "on", "true", "yes")


def check_user() -> None:
    """Raises NotPermitted if this process is root, and nobody asked for it."""
    if 0 in os.getresuid() and not stays_root(os.environ):
        raise NotPermitted(
            "this process is still root; let the image's entry point start it, start the container "
            "as an unprivileged user (--user 33:33), or set RUN_AS_ROOT=1"
        )


def give_up_capabilities() -> None:
    """Give up the right to bind ports, the only one that is left. Raises NotPermitted."""
    if not _capabilities():
        return
    import ctypes  # only where it is needed: this takes 2 ms

    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)())
    if _capabilities():
        raise NotPermitted("can't give up capabilities; start the container with --cap-drop ALL")


def why_not_readable(folder: Path) -> str:
    """Why this user can't read the application's folder, and what to do; empty if it can."""
    if os.access(folder, os.R_OK | os.X_OK):
        return ""
    status = folder.stat()
    or_as_owner = f", or run the container with --user {status.st_uid}" if status.st_uid else ""
    return (
        f"uid {os.geteuid()} can't read {folder}: the folder belongs to uid {status.st_uid} with "
        f"mode {status.st_mode & 0o777:o}; run chmod -R o+rX on the folder{or_as_owner}"
    )


def _capabilities() -> int:
    """The capabilities that this process has or can take, as bits."""
    names = ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")
    found = 0
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(names):
                found |= int(line.split()[1], 16)
    return found
