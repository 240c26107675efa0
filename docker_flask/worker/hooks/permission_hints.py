"""The line about what the application can't write: the path, and what changes this.

The path is in an exception that is logged, or the application tries to write there and hides the
exception. SQLite's exceptions have no path, so the paths of databases are noted.
"""

import contextlib
import errno
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker_flask.shared.drop_privileges import VOLUME
from docker_flask.shared.log import log

MAX_PATHS = 1000
# Seconds until the line about a write that is refused. An exception in the log gets it immediately.
DELAY = 0.5
_OF_KERNEL = ("/dev/", "/proc/", "/sys/")
# While the application loads, it may try what it can do without.
is_loaded = False
_SQLITE = ("unable to open database file", "attempt to write a readonly database")
# Audit events of Python that may write, and the position of their path:
# https://docs.python.org/3/library/audit_events.html
_PATHS = {"open": 0, "os.mkdir": 0, "os.symlink": 1, "os.link": 1, "os.rename": 1}
_PATHS["sqlite3.connect"] = 0
_databases: dict[str, None] = {}
# Paths that this process could not write, and what a link there was to lead to.
_refused: dict[str, str] = {}
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
    sys.addaudithook(_note)


def explain(error: BaseException | None) -> None:
    """Log what can't be written, and what to do, once for each path."""
    with contextlib.suppress(Exception):  # the caller has an exception of its own to handle
        if error and (hint := of_error(error)):
            log(hint)


def chain(error: BaseException) -> list[BaseException]:
    """An exception, and those behind it."""
    errors = [error]
    for one in errors:
        behind = (one.__cause__, one.__context__)
        errors += [other for other in behind if other and other not in errors]
    return errors


def of_error(error: BaseException, again: bool = False) -> str:
    """What can't be written, and what to do; empty if that is not the reason.

    again: also if the log has the line already.
    """
    found = [path for one in chain(error) for path in _paths(one)]
    path = next(filter(_is_refused, found), "")
    if not path:
        folders = (os.path.dirname(path) for path in found)
        path = next((folder for folder in folders if not os.path.isdir(folder)), "")
    if not path or (path in _explained and not again):
        return ""
    _explained.add(path)
    if not _is_refused(path):
        add = f"add to prestart.sh: mkdir -p {shlex.quote(path)}"
        return f"SQLite does not make folders, and {path} does not exist; {add} (docs/data.md)"
    advice = f"{_advice(path)} (docs/data.md)"
    return f"the application runs as uid {os.geteuid()} and can't write {path}; {advice}"


def _paths(error: BaseException) -> Iterator[str]:
    """The paths that may be the reason of an exception."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        # The second path is the one that symlink, link and rename create.
        for name in (error.filename2, error.filename):
            if isinstance(name, str | bytes):
                yield os.path.abspath(os.fsdecode(name))
    elif isinstance(error, FileNotFoundError):  # a file in a folder that does not exist
        yield from (path for path in _refused if path == os.path.abspath(str(error.filename)))
    elif type(error).__module__ == "sqlite3" and str(error) in _SQLITE:
        yield from reversed(_databases)


def _note(event: str, given: tuple[Any, ...]) -> None:
    """Before each event of Python: note databases, and writes that will be refused."""
    if event not in _PATHS:
        return
    with contextlib.suppress(Exception):
        path = os.fsdecode(given[_PATHS[event]])
        if event == "sqlite3.connect":
            path = path.removeprefix("file:").partition("?")[0]
            if path not in ("", ":memory:") and len(_databases) < MAX_PATHS:
                _databases[os.path.abspath(path)] = None
        elif event != "open" or given[2] & (os.O_WRONLY | os.O_RDWR):
            _note_write(event, os.path.abspath(path), os.fsdecode(given[0]))


def _note_write(event: str, path: str, source: str) -> None:
    # An existing file may be writable in a folder that is not; a new name needs the folder.
    place = _existing(path if event == "open" else os.path.dirname(path))
    is_there = event == "os.mkdir" and os.path.exists(path)
    is_there |= path in _refused or path.startswith(_OF_KERNEL)
    if not is_there and len(_refused) < MAX_PATHS and not os.access(place, os.W_OK):
        _refused[path] = source if event == "os.symlink" else ""
        if is_loaded:
            timer = threading.Timer(DELAY, explain, [PermissionError(errno.EACCES, "", path)])
            timer.daemon = True
            timer.start()


def _is_refused(path: str) -> bool:
    """True if this user may read a path, and can't write it."""
    existing = _existing(path)
    # SQLite writes a journal beside the database.
    folder = existing if os.path.isdir(existing) else os.path.dirname(existing)
    writable = all(os.access(place, os.W_OK) for place in (existing, folder))
    return not writable and os.access(existing, os.R_OK)


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(os.path.realpath(path))
    return path


def _advice(path: str) -> str:
    # A path that does not exist is a folder's if it has no suffix.
    is_folder = os.path.isdir(path) or not (os.path.exists(path) or os.path.splitext(path)[1])
    user = os.geteuid()
    folder = path if is_folder else os.path.dirname(path)
    above = _existing(folder)
    if not any(Path(above).glob("[!.]*")):
        folder = above  # empty, perhaps with a .gitkeep: the application names what is in it
    mount = above
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    if mount != "/":
        return _advice_for_mount(mount, folder)
    quoted = shlex.quote(folder)
    line = "add to the Dockerfile, after the last COPY: RUN"
    if target := _refused.get(path):
        return f"{line} ln -sfn {shlex.quote(target)} {shlex.quote(path)}"
    if not is_folder and (folder == os.getcwd() or any(Path(folder).glob("*.py"))):
        # Code stays read-only.
        target = shlex.quote(f"{VOLUME}/{os.path.basename(path)}")
        return f"{line} ln -sf {target} {shlex.quote(path)}"
    keep = f"and keep the files with -v NAME:{folder}"
    return f"{line} mkdir -p {quoted} && chown -R {user} {quoted}, {keep}"


def _advice_for_mount(mount: str, folder: str) -> str:
    if os.statvfs(mount).f_flag & os.ST_RDONLY:
        return f"mount {mount} without :ro"
    user, existing = os.geteuid(), _existing(folder)
    owner = os.stat(existing)
    if owner.st_uid not in (0, user):
        of_owner = f"--user {owner.st_uid}:{owner.st_gid}"
        return f"{existing} belongs to uid {owner.st_uid}: start the container with {of_owner}"
    command = "chown -R" if existing == folder else "install -d -o"
    # The engine mounts this file from a folder with the name of the container.
    mounts = Path("/proc/self/mountinfo").read_text()
    found = re.search(r"containers/([0-9a-f]{12})[0-9a-f]{52}/\S*hostname /etc/hostname ", mounts)
    container = found[1] if found else "CONTAINER"
    return (
        f"change the owner once: docker run --rm --user root --volumes-from {container} $(docker "
        f"inspect -f '{{{{.Image}}}}' {container}) {command} {user} {shlex.quote(folder)}"
    )
