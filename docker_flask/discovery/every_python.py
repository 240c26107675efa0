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
    find = module.Flask.auto_find_instance_path

    def auto_find_instance_path(self: Any) -> str:
        path: str = find(self)
        # A folder that the image has, or that is mounted, stays.
        stays = os.path.lexists(path) or os.access(os.path.dirname(path), os.W_OK)
        return INSTANCE if not stays and os.access(os.path.dirname(INSTANCE), os.W_OK) else path

    module.Flask.auto_find_instance_path = auto_find_instance_path


# Flask's instance folder is the same one for the server, for `flask` and for scripts.
after_import("flask.app", _move_instance_folder)
