"""In place of official images, where no registry responds: the distribution's packages."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from tests.support.harness import BASE_IMAGE, IMAGE, ROOT, build_image


@functools.cache
def stand_in(name: str) -> str:
    """Build the one for a stage of the Dockerfile; returns its image's name."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(__file__).parent, folder, dirs_exist_ok=True)
        shutil.copy(ROOT / "docker_flask/install-os.sh", folder)
        options = ("--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--target", name)
        return build_image(f"{IMAGE}:{name}", Path(folder), *options)
