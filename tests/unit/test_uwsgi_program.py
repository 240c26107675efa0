"""The command `uwsgi`: what it gives uWSGI to write its processes' names to, and which words."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from docker_flask.worker import uwsgi_program
from tests.support.harness import ROOT

NAMES = """
    import ctypes, os, sys
    from docker_flask.worker import uwsgi_program
    own = uwsgi_program.name_in_memory()
    os.environ["MORE"] = "x" * {size}
    other = uwsgi_program.name_in_memory()
    print(ctypes.string_at(own) == sys.orig_argv[0].encode(), own == other)
    ctypes.memset(other, 1, len(os.environb[b"MORE"]))
"""


@pytest.mark.parametrize(("size", "is_the_same"), [(1, True), (100_000, False)])
def test_names_get_memory_enough(size: int, is_the_same: bool) -> None:
    code = textwrap.dedent(NAMES.format(size=size))
    # Words beside which there is room for a few bytes.
    done = subprocess.run(
        [sys.executable, "-c", code, "word" * 10], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"True {is_the_same}\n"), done.stderr


def test_words_are_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["uwsgi", "--ini", "app.ini"])
    words = uwsgi_program.command_line()
    assert words[-2:] == [b"--ini", b"app.ini"]
    monkeypatch.setattr(sys, "argv", ["uwsgi", *(word.decode() for word in words)])
    assert uwsgi_program.command_line() == words
