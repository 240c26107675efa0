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
tries = []

def test_unmarked():
    tries.append("unmarked")
    assert tries.count("unmarked") > 1

@pytest.mark.flaky_timing("a busy machine is slow")
def test_marked():
    tries.append("marked")
    assert tries.count("marked") > 1

@pytest.mark.flaky_timing("a busy machine is slow")
def test_marked_and_broken():
    assert False

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
    ("require_all", "outcome"),
    [("0", "2 failed, 1 passed, 2 skipped, 2 rerun"), ("1", "3 failed, 1 passed, 1 skipped, 2 re")],
)
def test_what_is_retried_and_skipped(tmp_path: Path, require_all: str, outcome: str) -> None:
    tests = TESTS.format(not_applicable=NOT_APPLICABLE)
    printed, tries = run(tmp_path, tests, REQUIRE_ALL=require_all)
    assert outcome in printed
    assert (tries["unmarked"], tries["marked"], tries["marked_and_broken"]) == ("1", "2", "2")


def test_a_retry_needs_a_reason_and_a_loss_gets_none(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.flaky_timing\ndef test_it():\n    pass\n"
    assert "flaky_timing needs a reason" in run(tmp_path, test)[0]
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
