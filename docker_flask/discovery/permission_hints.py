"""Below an exception in the log: what the application can't write, and the line that changes this.

The path is in the exception. SQLite's exceptions have no path, so the paths of databases are noted
when they are opened.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import pwd
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker_flask.log import log

# Any user may write there (Dockerfile).
VOLUME = "/data"
MAX_DATABASES = 1000
_SQLITE = ("unable to open database file", "attempt to write a readonly database")
_databases: dict[str, None] = {}
_explained: set[str] = set()


def watch() -> None:
    """Explain every exception that is logged from now on, by whatever logger and handler."""
    call_handlers = logging.Logger.callHandlers

    def call_handlers_and_explain(self: Any, record: logging.LogRecord) -> None:
        # Some applications log a sentence of their own about the exception that they handle.
        handled = sys.exc_info()[1] if record.levelno >= logging.WARNING else None
        error = record.exc_info[1] if record.exc_info else handled
        call_handlers(self, record)
        explain(error)

    logging.Logger.callHandlers = call_handlers_and_explain  # type: ignore[method-assign]
    sys.addaudithook(lambda event, given: _note(*given) if event == "sqlite3.connect" else None)


def explain(error: BaseException | None) -> None:
    """Log what can't be written, and what to do, once for each path."""
    with contextlib.suppress(Exception):  # the caller has an exception of its own to handle
        if error and (hint := of_error(error)):
            log(hint)


def of_error(error: BaseException) -> str:
    """What can't be written, and what to do; empty if that is not the reason, or was logged."""
    found = ((one, path) for one in _chain(error) for path in _paths(one) if path)
    reason, path = next(found, (error, ""))
    if not path:
        return ""
    place, command = _command(path, _is_folder(path, reason))
    if place in _explained:
        return ""
    _explained.add(place)
    return f"the application runs as {whoami()} and can't write {path}; {_how(place, command)}"


def can_write(path: str) -> bool:
    """True if this user can write a file or folder, or can create it."""
    existing = _existing(path)
    return os.access(existing, os.W_OK | (os.X_OK if os.path.isdir(existing) else 0))


def whoami() -> str:
    """The user of this process, for the log."""
    user, _ = _owner()
    uid = f"uid {os.geteuid()}"
    return uid if user.isdecimal() else f"{user} ({uid})"


# --- which path ----------------------------------------------------------------------------


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it replaced."""
    chain = [error]
    for one in chain:
        yield one
        behind = (one.__cause__, one.__context__)
        chain += [other for other in behind if other and other not in chain]


def _paths(error: BaseException) -> Iterator[str]:
    """The paths that could not be written, if the exception names them."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        # The second path is the one that symlink, link and rename create.
        for name in (error.filename2, error.filename):
            if isinstance(name, str | bytes):
                yield _unwritable(os.path.abspath(os.fsdecode(name)))
    elif type(error).__module__ == "sqlite3" and str(error) in _SQLITE:
        yield from map(_unwritable, reversed(_databases))


def _note(database: Any) -> None:
    """Remember the path of a database."""
    if isinstance(database, str | bytes | os.PathLike) and len(_databases) < MAX_DATABASES:
        path = os.fsdecode(database).removeprefix("file:").partition("?")[0]
        if path and path != ":memory:":
            _databases[os.path.abspath(path)] = None


def _unwritable(path: str) -> str:
    """The path, if this user may read it and can't write it; else empty."""
    existing = _existing(path)
    is_folder = os.path.isdir(existing)
    if not os.access(existing, os.R_OK | (os.X_OK if is_folder else 0)):
        return ""  # the application may have wanted to read
    # SQLite writes a journal beside the database.
    writable = can_write(path) and (is_folder or can_write(os.path.dirname(path)))
    return "" if writable else path


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(os.path.realpath(path))
    return path


def _is_folder(path: str, error: BaseException) -> bool:
    """True if a path, which may not exist, is the path of a folder."""
    if os.path.exists(path):
        return os.path.isdir(path)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return any(re.search("mkdir|makedirs", f"{frame.name} {frame.line}") for frame in last)


# --- what to do ----------------------------------------------------------------------------


def _command(path: str, is_folder: bool) -> tuple[str, str]:
    """The file or folder that must change, and the command that changes it."""
    folder = path if is_folder else os.path.dirname(path)
    if not is_folder and _holds_code(folder):  # which stays read-only
        target = f"{VOLUME}/{os.path.basename(path)}"
        return path, f"ln -sf {shlex.quote(target)} {shlex.quote(path)}"
    parent = _existing(folder)
    if not any(Path(parent).glob("[!.]*")):
        folder = parent  # empty, perhaps with a .gitkeep: the application names what is in it
    user, group = _owner()
    if folder == parent:
        return folder, f"chown -R {user}:{group} {shlex.quote(folder)}"
    return folder, f"install -d -o {user} -g {group} {shlex.quote(folder)}"


def _holds_code(folder: str) -> bool:
    in_volume = f"{folder}/".startswith(f"{VOLUME}/")
    return folder == os.getcwd() or (not in_volume and any(Path(folder).glob("*.py")))


def _owner() -> tuple[str, str]:
    uid, gid = os.geteuid(), os.getegid()
    try:
        return pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name
    except KeyError:
        return str(uid), str(gid)


def _how(place: str, command: str) -> str:
    mount = _existing(place)
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    if mount == "/":
        keep = "" if command.startswith("ln") else f", and keep the files with -v NAME:{place}"
        return f"add to the Dockerfile, after the last COPY: RUN {command}{keep} (docs/data.md)"
    if os.statvfs(mount).f_flag & os.ST_RDONLY:
        return f"{mount} is mounted read-only; mount it without :ro (docs/data.md)"
    return (
        f"run once, with the volume or folder that is mounted there: docker run --rm --user root "
        f"-v VOLUME:{mount} IMAGE {command} (docs/data.md)"
    )
