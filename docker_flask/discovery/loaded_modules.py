"""The modules that this process has loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator


def files() -> Iterator[str]:
    """The file of each loaded module that has one."""
    for module in list(sys.modules.values()):
        # Not by getattr(): a module that loads lazily would then load.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str):
            yield file
