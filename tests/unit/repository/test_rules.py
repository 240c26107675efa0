"""The rules of tests/conftest.py: which tests are retried, and what may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.harness import ROOT
from tests.support.servers import NOT_APPLICABLE

TESTS = f"""
import pytest
from tests.support.harness import assert_within
from tests.support.loss import Load

def test_loses():
    assert False

def test_is_slow():
    assert_within(1.0, took=1.1)

def test_lacks_something():
    pytest.skip("no wrk here")

def test_does_not_apply():
    pytest.skip("{NOT_APPLICABLE}Gunicorn: it has no such thing")
"""


def test_a_loss_is_not_tried_again_and_ci_allows_no_skip(tmp_path: Path) -> None:
    """In a session of its own."""
    file, times = tmp_path / "test_it.py", tmp_path / "times"
    file.write_text(TESTS)
    options = ["--import-mode=importlib", "-p", "tests.conftest", "-c", f"{ROOT}/pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", *options, "--reruns=1", str(file)],
        cwd=ROOT,
        env={**os.environ, "TEST_TIMES": str(times), "REQUIRE_ALL": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "3 failed, 1 skipped" in done.stdout
    rows = [line.split() for line in times.read_text().splitlines()]
    tries = {row[-1].rpartition("::test_")[2]: row[1] for row in rows}
    assert tries == {"loses": "1", "is_slow": "2", "lacks_something": "1", "does_not_apply": "1"}
