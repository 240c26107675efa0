"""What every Python of /opt/venv does when it starts, also for scripts (docker_flask.pth)."""

from __future__ import annotations

from docker_flask.discovery import after_import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def _move_instance_folder(module: ModuleType) -> None:
    from docker_flask.discovery import instance_folder  # only for programs with Flask

    instance_folder.move(module)


after_import.call("flask.app", _move_instance_folder)
