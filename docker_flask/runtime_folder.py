"""The folder where a running container keeps its sockets and its configuration files."""

from __future__ import annotations

import contextlib
from pathlib import Path

from docker_flask.paths import CONTROL_SOCKET, FOLDERS


def make_folder() -> Path:
    """Make an empty folder for this start, without the files of an earlier one; raises OSError."""
    import shutil  # slow to import; only needed after the port is bound

    problem: OSError | None = None
    for folder in map(Path, FOLDERS):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for leftover in folder.iterdir():
                is_folder = leftover.is_dir() and not leftover.is_symlink()
                shutil.rmtree(leftover) if is_folder else leftover.unlink()
            (folder / ".probe").touch()
            (folder / ".probe").unlink()
            return folder
        except OSError as error:
            problem = error
    raise problem or OSError("no folder for sockets")


def find_folder() -> Path | None:
    """The folder of the supervisor that runs in this container, None if there is none."""
    for folder in map(Path, FOLDERS):
        with contextlib.suppress(PermissionError):
            if (folder / CONTROL_SOCKET).exists():
                return folder
    return None


def point(link: Path, target: str) -> None:
    """Change the target of a symbolic link atomically."""
    fresh = link.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
