"""Prints what the service user can write to of that which INSTALL_ON_START=1 reads, as a script.

Packages run code as root. An application that an attacker controls would become root at the next
start if it could write to a file that names packages, to a local package, or to a folder above.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))
from docker_flask.shared import drop_privileges, paths

NAMES = re.compile(r"requirements.*|.*\.lock|(pyproject|uv|poetry)\.toml|Pipfile")
COMMENT = re.compile(r"(^|\s)#.*", re.MULTILINE)
BETWEEN = re.compile(r"[\s=,;#@\"'\[\](){}]+")
BEFORE_PATH = re.compile(r"(-[rcef])?((\w+\+)?file:(//)?)?")
IN_LOCK_FILE = re.compile(
    r'\b(?:editable|directory|path|url|file)"?\s*[=:]\s*"(?:file:(?://)?)?([^"]+)"'
)


def all_read(folder: Path) -> set[Path]:
    """The folder, its files that name packages, and all files and folders that these lead to."""
    found = {folder}
    todo = [each for each in folder.iterdir() if NAMES.fullmatch(each.name)]
    while todo:
        path = todo.pop()
        if path.is_dir():
            found.update(_tree(path))
        elif path.is_file() and path not in found:  # installers ignore pipes and devices
            found.add(path)
            todo.extend(_named_in(path, folder))
    return found


def _named_in(file: Path, folder: Path) -> Iterator[Path]:
    """The paths that a file may name. It may take a word for a path that is none."""
    if file.suffix in (".whl", ".zip", ".gz"):
        return
    data = file.read_bytes()
    text = data.decode("utf-16" if data.startswith(b"\xff\xfe") else "utf-8-sig", "replace")
    if file.suffix == ".lock" and not file.name.startswith("requirements"):
        words = (word for word in IN_LOCK_FILE.findall(text) if word != ".")
    else:
        words = (
            BEFORE_PATH.sub("", each, count=1) for each in BETWEEN.split(COMMENT.sub("", text))
        )
    for word in map(os.path.expandvars, filter(None, words)):
        if len(word) < 256:
            yield file.parent / word
            yield folder / word


def _tree(folder: Path) -> Iterator[Path]:
    seen = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(top)) in seen:
            folders.clear()
        seen.add(real)
        yield Path(top)
        yield from (Path(top, name) for name in files)


def first_writable(read: Iterable[Path]) -> str:
    """The first that this user can write to or replace; empty if there is none."""
    for path in sorted(read):
        if os.access(path, os.W_OK):
            return str(path)
        if found := next(filter(_is_changeable, _way(path)), None):
            return str(found)
    return ""


def _way(path: Path) -> Iterator[Path]:
    """The path and the folders above, and those that each link among them leads to."""
    for each in (path, *path.parents):
        yield each
        if each.is_symlink():
            yield from _way(each.parent / os.readlink(each))


def _is_changeable(path: Path) -> bool:
    """True if this user can replace a link or what is in a folder, or may change the mode."""
    status, user = os.stat(path), os.geteuid()
    if status.st_uid == user and not os.statvfs(path).f_flag & os.ST_RDONLY:
        return True
    if path.is_symlink() and os.lstat(path).st_uid == user and os.access(path.parent, os.W_OK):
        return True
    # Where only its owner can replace a file, as in /tmp.
    return os.access(path, os.W_OK) and not status.st_mode & stat.S_ISVTX


def main() -> int:
    """Look at the files of the image and of the working directory."""
    if drop_privileges.stays_root(os.environ.get("RUN_AS_ROOT", "")):
        return 0  # the application is root
    read = all_read(Path(paths.HOME)) | all_read(Path.cwd())
    try:
        drop_privileges.drop("service")
    except drop_privileges.NotPermitted as missing:
        print(f"docker-flask: {missing}", file=sys.stderr)
        return missing.code
    print(first_writable(read))
    return 0


if __name__ == "__main__":
    sys.exit(main())
