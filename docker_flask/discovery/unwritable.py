"""What an application can't write, and the line that changes this.

Nothing here runs while the application works: the path is in the exception. SQLite's exceptions
have no path, so the paths of databases are noted when they are opened.
"""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd
import shlex
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docker_flask.discovery import after_import
from docker_flask.log import log

# Any user may write there (Dockerfile).
VOLUME = "/data"
MAX_DATABASES = 1000
_SQLITE = ("unable to open database file", "attempt to write a readonly database")
_databases: dict[str, None] = {}
_told: set[str] = set()


def watch() -> None:
    """Note the paths of databases, and explain the failed requests of Flask applications."""
    after_import.call("sqlite3", _change_sqlite)
    after_import.call("flask.app", _change_flask)


def explain(error: BaseException | None) -> None:
    """Log what can't be written, and what to do, once for each path."""
    if error and (words := advice(error)):
        log(words)


def advice(error: BaseException) -> str:
    """What can't be written, and what to do; empty if that is not the reason, or known."""
    found = ((one, path) for one in _chain(error) for path in _paths(one) if path)
    reason, path = next(found, (error, ""))
    if not path:
        return ""
    place, command = _command(path, _is_folder(path, reason))
    if place in _told:
        return ""
    _told.add(place)
    return f"the application runs as {whoami()} and can't write {path}; {_how(place, command)}"


def can_write(path: str) -> bool:
    """True if this user can write a file or folder, or can create it."""
    existing = _existing(path)
    return os.access(existing, os.W_OK | (os.X_OK if os.path.isdir(existing) else 0))


def whoami() -> str:
    """The user of this process, for the log."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those behind it."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [behind for behind in (one.__cause__, one.__context__) if behind]


def _paths(error: BaseException) -> Iterator[str]:
    """The paths that could not be written, if the exception names them."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        for name in (error.filename, error.filename2):
            if isinstance(name, str | bytes):
                yield _unwritable(os.path.abspath(os.fsdecode(name)))
    elif type(error).__module__ == "sqlite3" and str(error) in _SQLITE:
        yield from map(_unwritable, reversed(_databases))


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
    """True if a path, which may not exist, was to be a folder."""
    if os.path.exists(path):
        return os.path.isdir(path)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return any(name in f"{last.name} {last.line}" for name in ("mkdir", "makedirs"))


def _command(path: str, is_folder: bool) -> tuple[str, str]:
    """The file or folder that must change, and the command that changes it."""
    folder = path if is_folder else os.path.dirname(path)
    if not is_folder and _holds_code(folder):  # which stays read-only
        target = f"{VOLUME}/{os.path.basename(path)}"
        return path, f"ln -sf {shlex.quote(target)} {shlex.quote(path)}"
    parent = _existing(folder)
    if not any(Path(parent).glob("[!.]*")):
        folder = parent  # empty, perhaps with a .gitkeep: what is in it has names of its own
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


def _change_sqlite(module: ModuleType) -> None:
    connect = module.connect

    @functools.wraps(connect)
    def noting(*arguments: Any, **options: Any) -> Any:
        _note(arguments[0] if arguments else options.get("database"))
        return connect(*arguments, **options)

    vars(module)["connect"] = vars(sys.modules["sqlite3.dbapi2"])["connect"] = noting


def _note(database: Any) -> None:
    if not isinstance(database, str | bytes | os.PathLike) or len(_databases) >= MAX_DATABASES:
        return
    path = os.fsdecode(database)
    if path.startswith("file:"):
        path = path.removeprefix("file:").partition("?")[0]
    if path and path != ":memory:":
        _databases[os.path.abspath(path)] = None


def _change_flask(module: ModuleType) -> None:
    log_exception = module.Flask.log_exception

    def log_and_explain(self: Any, *arguments: Any) -> None:
        log_exception(self, *arguments)
        explain(sys.exc_info()[1])

    module.Flask.log_exception = log_and_explain
