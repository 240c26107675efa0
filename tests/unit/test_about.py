"""The first line of a start."""

from __future__ import annotations

import platform
from pathlib import Path

from docker_flask import about


def test_version_and_base(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("1.2.3\n")
    (tmp_path / "REVISION").write_text("a1" * 20 + "\n")
    line = about.line("uWSGI", tmp_path)
    assert line.startswith("version 1.2.3 (a1a1a1a1a1a1) on ")
    assert line.endswith(f", Python {platform.python_version()}, uWSGI")
