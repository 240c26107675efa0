"""Leaving root: what Python makes sure of after leave_root.c."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docker_flask import privileges
from docker_flask.configuration import settings
from docker_flask.privileges import NotPermitted

C_SOURCE = Path(privileges.__file__).parent / "leave_root.c"


@pytest.mark.parametrize("word", ["1", "on", "true", "yes", "YES", "0", "off", "", "perhaps", " 1"])
def test_who_stays_root(word: str) -> None:
    """The same words in C, here and in the settings: none keeps root that the settings refuse."""
    in_c = re.search(r"words\[\] = \{([^}]*)\}", C_SOURCE.read_text())
    assert in_c
    stays = privileges.stays_root({"RUN_AS_ROOT": word})
    assert stays == (word.lower() in re.findall(r'"(\w+)"', in_c[1]))
    if stays:
        assert settings.read({"RUN_AS_ROOT": word})["run_as_root"].value is True


@pytest.mark.parametrize(
    ("uids", "wanted", "refused"),
    [
        ((0, 0, 0), "", True),
        ((33, 33, 0), "", True),
        ((0, 33, 33), "0", True),
        ((0, 0, 0), "1", False),
        ((33, 33, 33), "", False),
    ],
)
def test_python_does_not_run_as_root(
    monkeypatch: pytest.MonkeyPatch, uids: tuple[int, int, int], wanted: str, refused: bool
) -> None:
    monkeypatch.setattr(os, "getresuid", lambda: uids)
    monkeypatch.setenv("RUN_AS_ROOT", wanted)
    if refused:
        with pytest.raises(NotPermitted, match="still root"):
            privileges.check_user()
    else:
        privileges.check_user()


def test_capabilities_are_given_up() -> None:
    program = (
        "from docker_flask import privileges\n"
        "privileges.give_up_capabilities()\n"
        "print(privileges._capabilities())\n"
    )
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[2]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, timeout=20)
    assert out.stdout == "0\n"
