"""What nginx serves from the runtime folder: static files, through links, and cached pages."""

from __future__ import annotations

import contextlib
from pathlib import Path

from docker_flask.runtime_folder import replace_symlink
from docker_flask.static_files import StaticFiles


def link_static(runtime: Path, static: StaticFiles | None, number: int) -> None:
    """Let nginx serve these static files, and no others.

    nginx finds the files below `static`, by the path of their URL. number: of the generation. All
    links change in one step. Raises OSError.
    """
    current = runtime / "static"
    before = current.resolve() if current.is_symlink() else None
    folder = runtime / f"static{number}"
    folder.mkdir()
    if static:
        link = folder / static.url.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(static.folder)
    replace_symlink(current, folder.name)
    if before:
        import shutil  # slow to import, and a start has nothing to remove

        shutil.rmtree(before)


def forget_pages(runtime: Path) -> None:
    """Make nginx serve none of its cached pages.

    This overwrites the first bytes of each file, where nginx keeps the version of its format: nginx
    replaces a file with an unknown version. For a file that is removed, it would log an error.
    """
    for page in (runtime / "cache").glob("*"):
        with contextlib.suppress(OSError), page.open("r+b") as file:
            file.write(bytes(8))
