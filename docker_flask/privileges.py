"""The user that a container runs as, and the access of that user."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

SERVICE_USER = "www-data"


def service_ids() -> tuple[int, int]:
    """User and group of production, if the container is started as root."""
    entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def owner_ids(folder: Path) -> tuple[int, int]:
    """User and group of a folder: debug mode runs as the owner of a bind mount."""
    status = folder.stat()
    return status.st_uid, status.st_gid


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


def drop_privileges(uid: int, gid: int) -> None:
    """Change from root to this user for good; does nothing if the process is not root.

    stdout and stderr get the new owner first, because nginx opens /dev/stdout again. A container
    that may not change users (`--cap-drop ALL`) stays root without privileges.
    """
    if os.geteuid() != 0:
        return
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            os.fchown(stream, uid, gid)
    # Other users can't write to root's home, and libraries keep caches at home.
    os.environ["HOME"] = "/tmp"  # noqa: S108 (the image stores nothing there)
    with contextlib.suppress(PermissionError):
        os.setgroups([group for group in os.getgroups() if group != 0])
        os.setgid(gid)
        os.setuid(uid)
