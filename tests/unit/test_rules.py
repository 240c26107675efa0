"""The rules of tests/conftest.py: which tests are retried, and what may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import ROOT
from tests.support.servers import NOT_APPLICABLE

TESTS = """
import pytest

def test_lacks_something():
    pytest.skip("no wrk here")

def test_does_not_apply():
    pytest.skip("{not_applicable}Gunicorn: it has no such thing")
"""


def run(folder: Path, tests: str, *more: str, **env: str) -> tuple[str, dict[str, str]]:
    """Run tests in a session of their own; returns the output, and how often each was tried."""
    file, times = folder / "test_it.py", folder / "times"
    file.write_text(tests)
    options = ["--import-mode=importlib", "-p", "tests.conftest", "-c", f"{ROOT}/pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", *options, *more, str(file)],
        cwd=ROOT,
        env={**os.environ, "TEST_TIMES": str(times), **env},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    rows = [line.split() for line in times.read_text().splitlines()] if times.exists() else []
    tries = {row[-1].rpartition("::test_")[2]: row[1] for row in rows}
    return done.stdout + done.stderr, tries


@pytest.mark.parametrize(
    ("require_all", "outcome"), [("0", "2 skipped"), ("1", "1 failed, 1 skipped")]
)
def test_what_may_be_skipped(tmp_path: Path, require_all: str, outcome: str) -> None:
    tests = TESTS.format(not_applicable=NOT_APPLICABLE)
    assert outcome in run(tmp_path, tests, REQUIRE_ALL=require_all)[0]


def test_a_loss_is_not_tried_again(tmp_path: Path) -> None:
    tests = """
from tests.support.harness import assert_within
from tests.support.loss import Load

def test_loses():
    assert False

def test_is_slow():
    assert_within(1.0, took=1.1)
"""
    _, tries = run(tmp_path, tests, "--reruns=1")
    assert tries == {"loses": "1", "is_slow": "2"}
