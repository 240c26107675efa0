"""The rules of tests/conftest.py: which tests are retried, and what may be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import ROOT
from tests.support.servers import NOT_APPLICABLE

RETRIED = '@pytest.mark.flaky_timing("a busy machine is slow")\n'
FAILS_ONCE = "    tries.append(1)\n    assert len(tries) > 1\n"
FAILS = "    assert False\n"


def run(folder: Path, body: str, mark: str = "", **env: str) -> tuple[str, str]:
    """Run one test in a session of its own; returns pytest's last line and its list of times."""
    file, times = folder / "test_it.py", folder / "times"
    file.write_text(f"import pytest\ntries = []\n{mark}def test_it():\n{body}")
    options = [
        "--import-mode=importlib",
        "-p",
        "tests.conftest",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=ROOT,
        env={**os.environ, "REQUIRE_ALL": "0", "TEST_TIMES": str(times), **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1]
    return last, times.read_text() if times.exists() else ""


@pytest.mark.parametrize(
    ("mark", "body", "outcome", "tries"),
    [
        ("", FAILS_ONCE, "1 failed in", 1),
        (RETRIED, FAILS_ONCE, "1 passed, 1 rerun in", 2),
        (RETRIED, FAILS, "1 failed, 1 rerun in", 2),
    ],
    ids=["unmarked", "marked", "marked and broken"],
)
def test_what_is_marked_is_retried_once(
    tmp_path: Path, mark: str, body: str, outcome: str, tries: int
) -> None:
    last, times = run(tmp_path, body, mark)
    assert outcome in last
    assert times.split()[1] == str(tries)


def test_a_retry_needs_a_reason(tmp_path: Path) -> None:
    last, _ = run(tmp_path, FAILS_ONCE, "@pytest.mark.flaky_timing\n")
    assert "flaky_timing needs a reason" in last


@pytest.mark.parametrize(
    ("require_all", "reason", "outcome"),
    [
        ("0", "no wrk here", "1 skipped in"),
        ("1", "no wrk here", "1 failed in"),
        ("1", f"{NOT_APPLICABLE}Gunicorn: it has no such thing", "1 skipped in"),
    ],
)
def test_a_skip_is_a_failure_where_all_is_required(
    tmp_path: Path, require_all: str, reason: str, outcome: str
) -> None:
    last, _ = run(tmp_path, f"    pytest.skip({reason!r})\n", REQUIRE_ALL=require_all)
    assert outcome in last
