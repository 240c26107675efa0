"""The line about what the application can't write: the path, and what changes this.

The path is in the exception that ends the load or a request, or that somebody logs. SQLite's
exceptions have no path.
"""

import contextlib
import errno
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from docker_flask.shared.log import log
from docker_flask.shared.paths import INSTANCE, VOLUME

# What SQLite can't write, by the message of its exception.
DATABASE = {
    "unable to open database file": "SQLite's database, or its folder does not exist",
    "attempt to write a readonly database": "SQLite's database",
}
_LINE = "add to the Dockerfile, after the last COPY: RUN"
_explained: set[str] = set()


class Hints(logging.Filter):
    """Lets every record pass; an exception that is logged gets the line as its last one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Look at the exception of a record, or at that which a warning is about."""
        error = record.exc_info[1] if record.exc_info else None
        with contextlib.suppress(Exception):  # the application has an exception of its own
            if error and (hint := of_error(error)):
                error.add_note(f"docker-flask: {hint}")
        # Some applications log a sentence of their own about the exception that they handle.
        if not error and record.levelno >= logging.WARNING:
            explain(sys.exc_info()[1])
        return True


def watch(logger: str = "") -> None:
    """Explain the exceptions that are logged from now on, after the application has set up its log.

    No handler: a new one on the root logger would keep Flask, `logging.basicConfig` and Python's
    last resort from adding theirs. logger: the name of `app.logger`.
    """
    hints, root = Hints(), logging.getLogger()
    flask = getattr(sys.modules.get("flask.logging"), "default_handler", None)
    # Filters of loggers see only their own records, filters of handlers those of many loggers.
    for place in (root, logging.getLogger(logger), *root.handlers, flask, logging.lastResort):
        if place:
            place.addFilter(hints)


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
    errors = chain(error)
    path = next(filter(_is_refused, (path for one in errors for path in _paths(one))), "")
    reason = path or next(filter(None, map(_of_sqlite, errors)), "")
    if not reason or (reason in _explained and not again):
        return ""
    _explained.add(reason)
    what, advice = (path, _advice(path)) if path else (DATABASE[reason], _advice_for_database())
    user = os.geteuid()
    return f"the application runs as uid {user} and can't write {what}; {advice} (docs/data.md)"


def _paths(error: BaseException) -> Iterator[str]:
    """The paths that may be the reason of an exception."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        # The second path is the one that symlink, link and rename create.
        for name in (error.filename2, error.filename):
            if isinstance(name, str | bytes):
                yield os.path.abspath(os.fsdecode(name))


def _of_sqlite(error: BaseException) -> str:
    """The message of SQLite if it can't write; it names no path."""
    text = str(error) if type(error).__module__ == "sqlite3" else ""
    return text if text in DATABASE else ""


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
    if os.path.basename(folder) == "instance" and not os.path.lexists(folder):
        return f"{_LINE} ln -s {INSTANCE} {quoted}"
    if not is_folder and (folder == os.getcwd() or any(Path(folder).glob("*.py"))):
        # Code stays read-only.
        target = shlex.quote(f"{VOLUME}/{os.path.basename(path)}")
        return f"{_LINE} ln -sf {target} {shlex.quote(path)}"
    keep = f"and keep the files with -v NAME:{folder}"
    return f"{_LINE} mkdir -p {quoted} && chown -R {user} {quoted}, {keep}"


def _advice_for_database() -> str:
    path = shlex.quote(os.path.abspath("app.db"))
    return f"if it is {path}, {_LINE} ln -sf {VOLUME}/app.db {path}"


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
