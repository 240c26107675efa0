"""The files of deploy/kubernetes, as they would be applied."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy/kubernetes"
# tools/install puts programs there.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

Resource = dict[str, Any]


@functools.cache
def rendered(folder: Path) -> list[Resource]:
    """What would be applied."""
    program = shutil.which("kustomize", path=PATH)
    if not program:
        pytest.skip("kustomize is missing: tools/install deploy")
    result = subprocess.run(
        [program, "build", folder], capture_output=True, text=True, timeout=50, check=False
    )
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def overlay(name: str) -> list[Resource]:
    return rendered(KUBERNETES / "overlays" / name)
