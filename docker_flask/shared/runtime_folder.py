"""The folder where a running container keeps its sockets and its configuration files."""

import contextlib
import errno
import glob
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from docker_flask.shared import paths
from docker_flask.shared.drop_privileges import NotPermitted

# Seconds after which a folder without a server is one that a killed container left.
LEFT_BEHIND = 60.0


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """An empty folder for this start, which no other container uses; raises NotPermitted."""
    folder = _take_first()
    try:
        yield folder
    finally:
        if str(folder) != paths.IMAGE_FOLDER:  # the image's stays, for who wants to look into it
            _delete(folder)


def running_server() -> Path | None:
    """The folder of the production server that runs in this container, None if there is none."""
    folder = paths.running()
    return Path(folder) if os.path.exists(f"{folder}/{paths.NGINX_SOCKET}") else None


def replace_symlink(link: Path, target: str) -> None:
    """Change the target of a symbolic link atomically."""
    fresh = link.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _take_first() -> Path:
    reasons = []
    for name in paths.folders():
        try:
            _take(Path(name))
            return Path(name)
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}")
    raise NotPermitted(
        f"no folder for sockets can be written to ({'; '.join(reasons)}); "
        "give the container one: --tmpfs /tmp"
    )


def _take(folder: Path) -> None:
    """Make this folder, or empty one of an earlier start; raises OSError."""
    if str(folder) != paths.IMAGE_FOLDER:
        _clean(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if not paths.is_own(str(folder)):
        raise PermissionError(0, "no folder of this user")
    if answers(str(folder)):
        raise NotPermitted(
            f"{folder} is used by a server that runs; give each container a folder of its own"
        )
    folder.chmod(0o700)  # fails if the folder is read-only
    for leftover in folder.iterdir():
        _delete(leftover)


def _clean(place: Path) -> None:
    """Delete what killed containers left in a place that outlived them."""
    boot, _ = paths.container()
    for name in glob.glob(f"{place}/docker-flask-{boot}-*"):
        with contextlib.suppress(OSError):
            age = time.time() - os.lstat(name).st_mtime
            if paths.is_own(name) and age > LEFT_BEHIND and not answers(name):
                _delete(Path(name))


def answers(folder: str) -> bool:
    """True if the server of this folder lives."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        failure = connection.connect_ex(f"{folder}/{paths.CONTROL_SOCKET}")
    return failure not in (errno.ECONNREFUSED, errno.ENOENT)


def _delete(path: Path) -> None:
    import shutil  # slow to import; only needed after the port is bound

    is_folder = path.is_dir() and not path.is_symlink()
    shutil.rmtree(path, ignore_errors=True) if is_folder else path.unlink(missing_ok=True)
