"""What every Python of /opt/venv imports when it starts, also for scripts (docker_flask.pth).

It changes modules directly after their import, and imports as little as possible itself.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def after_import(name: str, change: Callable[[ModuleType], None]) -> None:
    """Call `change` with a module: now, or directly after its import."""
    if module := sys.modules.get(name):
        change(module)
    else:
        sys.meta_path.insert(0, _AfterImport(name, change))


class _AfterImport:
    """A finder (importlib.abc.MetaPathFinder) that finds nothing by itself."""

    def __init__(self, name: str, change: Callable[[ModuleType], None]) -> None:
        self._name, self._change = name, change

    def find_spec(self, name: str, *_: Any) -> Any:
        if name != self._name:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec and spec.loader
        if loader:
            run = loader.exec_module

            def run_and_change(module: ModuleType) -> None:
                run(module)
                self._change(module)

            loader.exec_module = run_and_change
        return spec


def _move_instance_folder(module: ModuleType) -> None:
    from docker_flask.discovery import instance_folder  # only for programs with Flask

    instance_folder.move(module)


# Flask's instance folder is the same one for the server, for `flask` and for scripts.
after_import("flask.app", _move_instance_folder)
