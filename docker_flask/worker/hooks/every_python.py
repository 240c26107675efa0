"""What every Python of /opt/venv imports when it starts, also for scripts (docker_flask.pth).

It changes modules directly after their import, and imports as little as possible itself.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

# Flask's instance folder, if the application can't make one beside its code, which is root's.
INSTANCE = "/data/instance"


def after_import(name: str, change: Callable[[ModuleType], None]) -> None:
    """Call `change` with a module: now, or directly after its import."""
    if module := sys.modules.get(name):
        change(module)
        return

    class Finder:
        """A finder (importlib.abc.MetaPathFinder) that finds nothing by itself."""

        @classmethod
        def find_spec(cls, wanted: str, *_: Any) -> Any:
            if wanted != name:
                return None
            import importlib.util

            sys.meta_path.remove(cls)
            spec = importlib.util.find_spec(name)
            loader: Any = spec and spec.loader
            if loader:
                run = loader.exec_module

                def run_and_change(module: ModuleType) -> None:
                    run(module)
                    change(module)

                loader.exec_module = run_and_change
            return spec

    sys.meta_path.insert(0, Finder)


def _move_instance_folder(module: ModuleType) -> None:
    flask = module.Flask
    find, make_config = flask.auto_find_instance_path, flask.make_config

    def auto_find_instance_path(self: Any) -> str:
        path: str = find(self)
        # A folder that the image has, or that is mounted, stays.
        stays = os.path.lexists(path) or os.access(os.path.dirname(path), os.W_OK)
        return INSTANCE if not stays and _is_trusted_instance() else path

    def make_config_of_image(self: Any, instance_relative: bool = False) -> Any:
        config = make_config(self, instance_relative)
        if instance_relative and self.instance_path == INSTANCE:
            config.root_path = find(self)
            planted = f"{INSTANCE}/config.py"
            if os.path.exists(planted):
                _log(f"{planted} is not read: configuration comes from {config.root_path}")
        return config

    flask.auto_find_instance_path = auto_find_instance_path
    flask.make_config = make_config_of_image


def _is_trusted_instance() -> bool:
    """True if nobody else can write to INSTANCE, or if this process can make it."""
    from docker_flask.shared import paths

    volume = os.path.dirname(INSTANCE)
    if paths.others_may_replace(volume):
        return False  # process 1 logs it (supervisor/start_log.py)
    try:
        status = os.lstat(INSTANCE)
    except OSError:
        return os.access(volume, os.W_OK)
    # The types of files are in 0o170000, a folder has 0o040000; others may write with 0o022.
    is_own = status.st_uid == os.geteuid() and status.st_mode & 0o170022 == 0o040000
    if not is_own:
        _log(
            f"{INSTANCE} is not used, because others can write to it: it must be a folder of uid "
            f"{os.geteuid()} that only this user can write to"
        )
    return is_own


def _log(text: str) -> None:
    from docker_flask.shared.log import log

    log(text)


# Flask's instance folder is the same one for the server, for `flask` and for scripts.
after_import("flask.app", _move_instance_folder)
