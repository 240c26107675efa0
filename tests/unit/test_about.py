"""The first line of a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask import about


@pytest.mark.parametrize(
    ("revision", "release", "expected"),
    [
        ("unknown", 'NAME="X"\nPRETTY_NAME="X 13 (y)"\n', "version 1.2.3 on X 13 (y), Python 3"),
        ("a1" * 20, "PRETTY_NAME=X\n", "version 1.2.3 (a1a1a1a1a1a1) on X, Python 3"),
        ("a1" * 20 + "-dirty", "", "version 1.2.3 (a1a1a1a1a1a1-dirty) on an unknown base, P"),
    ],
)
def test_version_and_base(tmp_path: Path, revision: str, release: str, expected: str) -> None:
    for name, text in {"VERSION": "1.2.3\n", "REVISION": revision, "os-release": release}.items():
        (tmp_path / name).write_text(text)
    line = about.line("uWSGI", tmp_path, tmp_path / "os-release")
    assert line.startswith(expected)
    assert line.endswith(", uWSGI")
