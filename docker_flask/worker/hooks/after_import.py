"""Changes modules of the application directly after their import, or now, if it is late."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Finder:
    """A finder (importlib.abc.MetaPathFinder) that finds nothing by itself."""

    def __init__(self, name: str, change: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._change = change

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, which calls the function after the module has run."""
        if name != self._name:
            return None
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


def after_import(name: str, change: Callable[[ModuleType], None]) -> None:
    """Call `change` with a module: now, or directly after its import."""
    if module := sys.modules.get(name):
        change(module)
    else:
        sys.meta_path.insert(0, Finder(name, change))
