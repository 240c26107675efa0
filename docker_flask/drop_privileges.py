"""Root becomes another user for good: each program of the image calls `drop` first.

A process that is not root keeps its user and its groups. In any case, the process and its children
have no capabilities and can get none (no_new_privs, empty bounding set). RUN_AS_ROOT=1 keeps the
user root.

Few imports, because the health check imports this module every half minute.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Mapping

from docker_flask import paths

EXIT_NOT_PERMITTED = 77  # EX_NOPERM in sysexits.h
SERVICE_USER = "www-data"
VOLUME = "/data"
# From linux/prctl.h and linux/capability.h; Python has no function for these calls.
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 4, 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_CAPABILITY_VERSION = 0x20080522  # the third, of three sets with 64 bits each: capset(2)
_SETGID, _SETUID, _SETPCAP, _NET_BIND_SERVICE = 6, 7, 8, 10

Ids = tuple[int, int]


class NotPermitted(Exception):
    """The container lacks a privilege; the message says which, and what mends it."""

    code = EXIT_NOT_PERMITTED


def stays_root(environ: Mapping[str, str]) -> bool:
    """True if the user wants root."""
    return environ.get("RUN_AS_ROOT", "").lower() in ("1", "on", "true", "yes")


# --- which user ------------------------------------------------------------------------------


def service_user() -> Ids:
    """The user of production; raises NotPermitted if the image has no such user."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        entry = None
    if not entry or not entry.pw_uid:
        raise NotPermitted(f"can't leave root: /etc/passwd has no user {SERVICE_USER}")
    return entry.pw_uid, entry.pw_gid


def owner() -> Ids:
    """The owner of the working directory, or the service user if that is root."""
    return _owner_of(".") or service_user()


def running() -> Ids:
    """The user of the server that runs in this container; as `owner` if none runs.

    Process 1 has this user, except under `docker run --init`. There, the folder for sockets is the
    server's. The image's folder belongs to the service user in any case; root without the
    capability DAC_READ_SEARCH can't look into it.
    """
    if found := _owner_of("/proc/1"):
        return found
    for mark in (paths.CONTROL_SOCKET, paths.DEBUG_MARK):
        try:
            os.lstat(f"{paths.IMAGE_FOLDER}/{mark}")
        except PermissionError:
            pass
        except OSError:
            continue
        return service_user()
    places = (folder for folder in paths.folders() if folder != paths.IMAGE_FOLDER)
    return next(filter(None, map(_owner_of, places)), None) or owner()


def _owner_of(folder: str) -> Ids | None:
    """The owner of a folder that is no link; None for root's. Root's group is replaced, too."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode) or not status.st_uid:
        return None
    return status.st_uid, status.st_gid or status.st_uid


# --- leaving root ----------------------------------------------------------------------------


class _Kernel:
    """The calls that Python has no function for."""

    def __init__(self) -> None:
        import ctypes  # only here: it takes some milliseconds

        self._libc = ctypes.CDLL(None)
        self._header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        self._sets = ctypes.c_uint32 * 6

    def prctl(self, option: int, argument: int = 0) -> int:
        """The result, negative for an error."""
        return int(self._libc.prctl(option, argument, 0, 0, 0))

    def capabilities(self) -> tuple[int, int, int]:
        """Effective, permitted and inheritable ones, as bits; raises NotPermitted."""
        sets = self._sets()
        if self._libc.capget(self._header, sets):
            raise NotPermitted("can't read the capabilities of this process")
        return tuple(sets[i] | sets[i + 3] << 32 for i in range(3))  # type: ignore[return-value]

    def keep_only(self, bits: int) -> None:
        """Give up all other capabilities, the ambient ones with them; raises NotPermitted."""
        self._libc.capset(self._header, self._sets(bits, bits, 0))
        if self.capabilities() != (bits, bits, 0):
            raise NotPermitted(
                "can't give up capabilities; start the container with --cap-drop ALL"
            )


def drop(user: Callable[[], Ids], keep_ports: bool = False) -> None:
    """Become this user, if this process is root. Raises NotPermitted.

    keep_ports: the process may bind ports below 1024 until it calls `give_up_ports`.
    """
    kernel = _Kernel()
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if kernel.prctl(_PR_GET_NO_NEW_PRIVS) != 1:
        raise NotPermitted("can't set no_new_privs, which Linux has since version 3.5")
    effective, permitted, _ = kernel.capabilities()
    if _has(effective, _SETPCAP):
        number = 0
        while kernel.prctl(_PR_CAPBSET_READ, number) >= 0:
            kernel.prctl(_PR_CAPBSET_DROP, number)
            number += 1
    if os.geteuid() == 0 and not stays_root(os.environ):
        ids = user()
        _check_may_leave(effective, ids)
        _give_streams(ids)
        kernel.prctl(_PR_SET_KEEPCAPS, 1)
        _become(ids)
        # As after exec: /proc shows the new user, who may debug this process.
        kernel.prctl(_PR_SET_DUMPABLE, 1)
    kernel.keep_only(permitted & 1 << _NET_BIND_SERVICE if keep_ports else 0)
    name_user()


def give_up_ports() -> None:
    """Give up the right to bind ports below 1024; raises NotPermitted."""
    _Kernel().keep_only(0)


def _has(bits: int, capability: int) -> bool:
    return bool(bits >> capability & 1)


def _check_may_leave(effective: int, ids: Ids) -> None:
    names = {"SETUID": _SETUID, "SETGID": _SETGID}
    missing = [name for name, number in names.items() if not _has(effective, number)]
    if missing:
        lacks = " and no capability ".join(missing)
        adds = " ".join(f"--cap-add {name}" for name in missing)
        raise NotPermitted(
            f"can't leave root, because the container has no capability {lacks}; add {adds}, or "
            f"start the container as an unprivileged user: --user {ids[0]}:{ids[1]} "
            "(to stay root: RUN_AS_ROOT=1)"
        )


def _give_streams(ids: Ids) -> None:
    """The new user writes to the log, and programs open /dev/stdout again."""
    for descriptor in (1, 2):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
                os.fchown(descriptor, *ids)
        except OSError:  # production's log does without
            pass


def _become(ids: Ids) -> None:
    """The groups of `docker run --group-add` stay."""
    uid, gid = ids
    groups = [group for group in os.getgroups() if group]
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise NotPermitted(
            f"can't become uid {uid}, gid {gid}: {error.strerror}; start the container as an "
            "unprivileged user: --user (to stay root: RUN_AS_ROOT=1)"
        ) from None
    if (
        os.getresuid() != (uid, uid, uid)
        or os.getresgid() != (gid, gid, gid)
        or sorted(os.getgroups()) != sorted(groups)
    ):
        raise NotPermitted("still root after leaving root; start the container with --user")


# --- what a user has -------------------------------------------------------------------------


def name_user() -> None:
    """Set USER, LOGNAME and HOME, unless the container sets them to something that fits.

    Programs ask for their user's name and home, which a uid without an entry in /etc/passwd lacks.
    """
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid{uid}"
    for variable in ("USER", "LOGNAME"):
        value = os.environ.get(variable)
        if not value or (uid and value == "root"):
            os.environ[variable] = name
    # The engine sets root's home, or / for a uid without an entry. Some applications keep their
    # data at home, so home is in the volume.
    if not os.access(os.environ.get("HOME", ""), os.W_OK | os.X_OK):
        os.environ["HOME"] = VOLUME if os.access(VOLUME, os.W_OK | os.X_OK) else "/tmp"  # noqa: S108


def why_not_readable(folder: str | os.PathLike[str]) -> str:
    """Why this user can't read the application's folder, and what to do; empty if it can."""
    if os.access(folder, os.R_OK | os.X_OK):
        return ""
    status = os.stat(folder)
    or_as_owner = f", or run the container with --user {status.st_uid}" if status.st_uid else ""
    return (
        f"uid {os.geteuid()} can't read {folder}: the folder belongs to uid {status.st_uid} with "
        f"mode {status.st_mode & 0o777:o}; run chmod -R o+rX on the folder{or_as_owner}"
    )
