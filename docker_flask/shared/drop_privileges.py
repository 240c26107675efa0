"""Root becomes another user for good: each program of the image calls `drop` first.

A process that is not root keeps its user and its groups. In any case, the process and its children
have no capabilities and can get none (no_new_privs, empty bounding set). RUN_AS_ROOT=1 keeps the
user root.

Few imports: the health check imports this module every half minute.
"""

import contextlib
import ctypes
import itertools
import os
import pwd
import stat
import sys

from docker_flask.shared import instance_folder, paths

EXIT_NOT_PERMITTED = 77  # EX_NOPERM in sysexits.h
EXIT_NOT_READABLE = 70  # EX_SOFTWARE in sysexits.h: the application can't run
SERVICE_USER = "www-data"
VOLUME = paths.VOLUME
ENTRY_POINTS = b"/entry-point.sh", b"/entrypoint.sh", b"/start.sh"
BUILDKIT_HOST, BUILDAH_MARK = "buildkitsandbox", "/run/.containerenv"
# From linux/prctl.h and linux/capability.h; Python has no function for these calls.
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 8, 24, 38
_CAPABILITY_VERSION = 0x20080522  # the third, of three sets with 64 bits each: capset(2)
_NET_BIND_SERVICE, _CAPABILITIES = 10, 64

Ids = tuple[int, int]


class NotPermitted(Exception):
    """The container lacks a privilege; the message says which, and what mends it."""

    code = EXIT_NOT_PERMITTED


def stays_root(word: str) -> bool:
    """True if the value of RUN_AS_ROOT says that the user wants root."""
    return word.lower() in ("1", "on", "true", "yes")


# --- which user ------------------------------------------------------------------------------


def service_user() -> Ids:
    """The user of production."""
    entry = pwd.getpwnam(SERVICE_USER)
    return entry.pw_uid, entry.pw_gid


def owner() -> Ids:
    """The owner of the working directory, or the service user if that is root."""
    return _owner_of(".") or service_user()


def running() -> Ids:
    """The user of what the image runs in this container; as `owner` if there is none."""
    return of_container() or owner()


def of_container() -> Ids | None:
    """The user of what the image runs beside this process, which is root's; None if that is root.

    None, too, for a process that process 1 started as root: a command, a wrapper of the user's, a
    build. Sessions, users and control groups decide, because no application can change these.
    """
    if is_build() or 0 < os.getsid(0) == os.getsid(1):
        return None
    others: dict[bool, Ids] = {}
    for process in paths.processes():
        words = paths.read(f"{process}/cmdline").split(b"\0")
        if ids := _user_of(process) or (service_user() if _will_leave_root(words) else None):
            others.setdefault(b"docker_flask" in words, ids)
    return others.get(True) or others.get(False)


def _will_leave_root(words: list[bytes]) -> bool:
    """True for the command line of a start, which may take minutes (INSTALL_ON_START)."""
    is_mode = words[2:5] in ([b"-m", b"docker_flask", mode] for mode in (b"serve", b"debug"))
    is_entry_point = words[0] == b"/bin/bash" and words[1].endswith(ENTRY_POINTS)
    return is_mode or (is_entry_point and b"--inside" not in words)


def _user_of(process: str) -> Ids | None:
    """The user of a process, also of one that hides its owner; None for root or if it has ended."""
    rows = dict(row.partition(b":")[::2] for row in paths.read(f"{process}/status").splitlines())
    try:
        uid, gid = (int(rows[name].split()[1]) for name in (b"Uid", b"Gid"))
    except KeyError:
        return None
    return (uid, gid or uid) if uid else None


def is_build() -> bool:
    """True in a RUN of a Dockerfile, by the marks of BuildKit and Buildah: root has made both."""
    if os.uname().nodename == BUILDKIT_HOST:
        return True
    try:
        is_roots = os.lstat(BUILDAH_MARK).st_uid == 0
    except OSError:
        return False
    return is_roots and b'engine="buildah-' in paths.read(BUILDAH_MARK)


def _owner_of(folder: str) -> Ids | None:
    """The owner of a folder that is no link; None for root's. Root's group is replaced, too."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode) or not status.st_uid:
        return None
    return status.st_uid, status.st_gid or status.st_uid


USERS = {"service": service_user, "owner": owner, "running": running}


# --- leaving root ----------------------------------------------------------------------------


def _call(name: str, *arguments: int | bytes) -> bool:
    """Call a function of the C library; returns False for an error."""
    return bool(getattr(ctypes.CDLL(None), name)(*arguments) == 0)


def _prctl(option: int, argument: int) -> bool:
    return _call("prctl", option, argument, 0, 0, 0)


def _keep_only(bits: int) -> bool:
    """Give up all other capabilities, the ambient ones with them; bits: below 32."""
    numbers = (_CAPABILITY_VERSION, 0), (bits, bits, 0, 0, 0, 0)
    header, sets = (b"".join(n.to_bytes(4, sys.byteorder) for n in each) for each in numbers)
    return _call("capset", header, sets)


def drop(user: str, keep_ports: bool = False) -> None:
    """Become this user of `USERS`, if this process is root. Raises NotPermitted.

    A command of a build stays root. keep_ports: the process may bind ports below 1024 until it
    calls `give_up_ports`.
    """
    if user == "running" and os.geteuid() == 0 and is_build():
        return
    leaves_root = os.geteuid() == 0 and not stays_root(os.environ.get("RUN_AS_ROOT", ""))
    ids = USERS[user]() if leaves_root else None
    if ids:
        _leave_terminal()
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise NotPermitted("can't set no_new_privs, which Linux has since version 3.5")
    for number in range(_CAPABILITIES):  # only root with the capability SETPCAP may do this
        _prctl(_PR_CAPBSET_DROP, number)
    instance_folder.prepare(ids)
    if ids:
        _give_streams(ids)
        _prctl(_PR_SET_KEEPCAPS, 1)
        _become(ids)
        # As after exec: /proc shows the new user, who may debug this process.
        _prctl(_PR_SET_DUMPABLE, 1)
    if not (keep_ports and _keep_only(1 << _NET_BIND_SERVICE)):
        give_up_ports()
    name_user()


def give_up_ports() -> None:
    """Give up the right to bind ports below 1024; raises NotPermitted."""
    if not _keep_only(0):
        raise NotPermitted("can't give up capabilities; start the container with --cap-drop ALL")


def _leave_terminal() -> None:
    """Start this program again on a terminal of its own, if it stands on that of root's shell.

    The new user could type there, as root: TIOCSTI in ioctl_tty(2).
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:  # there is none
        return
    # No shell is on it: `docker exec -it C docker-flask run bash`, `docker run --init -it`.
    if os.getsid(0) == os.getpid() or os.getsid(0) == os.getppid() == 1:
        os.close(terminal)
        return
    import shlex  # slow to import

    # `script` changes the terminal that it reads: not while the next of a pipeline writes there.
    source = terminal if os.isatty(1) else os.open(os.devnull, os.O_RDONLY)
    command = f"exec {shlex.join(sys.orig_argv)}"
    for stream in (0, 1, 2):
        if not os.isatty(stream):  # of a pipeline: stays
            copy = os.dup(stream)
            os.set_inheritable(copy, True)
            command += f" {stream}>&{copy} {copy}>&-"
        os.dup2(terminal if stream else source, stream)
    script = "/usr/bin/script", "--quiet", "--return", "--command", command, "/dev/null"
    os.execv(script[0], script)  # noqa: S606 (script needs one)


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
    try:
        os.setgroups([group for group in os.getgroups() if group])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise NotPermitted(
            f"can't leave root: {error.strerror}; add --cap-add SETUID --cap-add SETGID, or start "
            f"the container as an unprivileged user: --user {uid}:{gid} (to stay root: "
            "RUN_AS_ROOT=1)"
        ) from None


# --- what a user has -------------------------------------------------------------------------


def name_user() -> None:
    """Set USER, LOGNAME, HOME and TMPDIR, unless the container sets them to something that fits.

    Programs ask for their user's name and home, which a uid without an entry in /etc/passwd lacks,
    and take /tmp, to which nobody can write in a `--read-only` container.
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
    os.environ["HOME"] = _home(uid)
    place = next((each for each in paths.PLACES if os.access(each, os.W_OK | os.X_OK)), "")
    if place not in ("", paths.PLACES[0]):
        os.environ.setdefault("TMPDIR", place)


def _home(uid: int) -> str:
    """HOME if this user can write there, and not everybody; else a folder of this user's.

    The engine sets root's home, or / for a uid without an entry. Some applications keep their data
    at home, so home is in the volume, to which any user can write. Programs run what is at home.
    """
    home = os.environ.get("HOME", "")
    if os.access(home, os.W_OK | os.X_OK) and not os.stat(home).st_mode & stat.S_IWOTH:
        return home
    folders = [f"{VOLUME}/home", f"/tmp/docker-flask-home-{uid}"]  # noqa: S108 (checked)
    for folder in folders[paths.others_may_replace(VOLUME) :]:
        with contextlib.suppress(OSError):
            os.mkdir(folder, 0o700)
        if paths.is_own(folder):
            return folder
    return "/nonexistent"


def why_not_readable(path: str | os.PathLike[str]) -> str:
    """Why this user can't read a file or a folder, and what to do; empty if it can."""
    status = os.stat(path)
    if os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)):
        return ""
    return (
        f"uid {os.geteuid()} can't read {path}: it belongs to uid {status.st_uid} with mode "
        f"{status.st_mode & 0o777:o}; run chmod -R o+rX on the application's folder"
    )


def why_not_all_readable(folder: str | os.PathLike[str]) -> str:
    """The same for what is in a folder, the nearest first: not hidden, nor one of a great many."""
    import glob  # not for the health check

    found = (path for depth in range(6) for path in glob.iglob(f"{folder}{'/*' * depth}"))
    some = itertools.islice(filter(os.path.exists, found), 5000)  # without links to nothing
    with contextlib.suppress(OSError):  # the application has just removed one
        return next(filter(None, map(why_not_readable, some)), "")
    return ""
