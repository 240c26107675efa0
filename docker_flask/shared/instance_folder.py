"""Flask's instance folder, in the volume: `ls` shows the link.

Flask expects the folder `instance` beside the application. It can't be made there, because the code
is root's. So root makes a link before it leaves root, where the folder is the image's: a folder of
the host stays as it is. Elsewhere, Flask's own rule counts (docs/data.md).
"""

import contextlib
import os
from collections.abc import Iterator

from docker_flask.shared import paths

Ids = tuple[int, int]

# Beside modules and packages in the application's folder, and in `src`.
_LINKS = ("instance", "src/instance")
# The type of a file, and the right of others to write: os.lstat.
_TYPE_AND_RIGHTS, _FOLDER = 0o170022, 0o040000


def prepare(user: Ids | None) -> None:
    """Make the links, and the folder to which they lead.

    user: whom root becomes. None if this process keeps its user: it only makes the folder to which
    a link of the image leads.
    """
    for link in _LINKS:
        with contextlib.suppress(OSError):
            if user and not os.path.lexists(link):
                _link(link, user)
            elif os.readlink(link) == paths.INSTANCE:
                _make_folder(user)


def is_foreign(uid: int) -> bool:
    """True if another user has made the folder, or can write to it."""
    try:
        status = os.lstat(paths.INSTANCE)
    except OSError:
        return False
    return status.st_uid != uid or status.st_mode & _TYPE_AND_RIGHTS != _FOLDER


def _link(link: str, user: Ids) -> None:
    folder = os.path.dirname(link) or "."
    with _as(user):
        can_make_it = os.access(folder, os.W_OK, effective_ids=True)
    # An empty folder has no application: the image serves its sample.
    if can_make_it or not os.listdir(folder) or _is_mounted(folder):
        return
    if not paths.others_may_replace(paths.VOLUME):
        _make_folder(user)
        if not is_foreign(user[0]):
            os.symlink(paths.INSTANCE, link)


def _make_folder(user: Ids | None) -> None:
    # By its later user: in the volume, everybody else can make any name as well.
    with contextlib.suppress(FileExistsError), _as(user):
        os.mkdir(paths.INSTANCE, 0o755)


def _is_mounted(folder: str) -> bool:
    """True if a folder, or one above it, is a mount; True, too, if the kernel does not say."""
    path = os.fsencode(os.path.realpath(folder)).replace(b" ", rb"\040") + b"/"
    points = [line.split()[4] for line in paths.read("/proc/self/mountinfo").splitlines()]
    return not points or any(path.startswith(point + b"/") for point in points if point != b"/")


@contextlib.contextmanager
def _as(user: Ids | None) -> Iterator[None]:
    """With the rights that root will have as another user (drop_privileges.py)."""
    if not user:
        yield
        return
    groups = os.getgroups()
    try:
        os.setgroups([group for group in groups if group])
        os.setegid(user[1])
        os.seteuid(user[0])
        yield
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        os.setgroups(groups)
