"""The benchmark in short: two contestants, one round of a second. Errors count here, not times."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONTESTANTS = ["ours", "Flask's development server"]


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk here; `tools/install wrk` installs it")
@pytest.mark.timeout(600)  # it may have to build the other image
def test_short_benchmark_makes_a_report_without_errors(tmp_path: Path) -> None:
    options = ["--rounds", "1", "--seconds", "1", "--rows", "hello", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", *options, "--only", *CONTESTANTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "results.json").read_text())["rows"]["1 hello"]
    assert row["failures"] == []
    assert list(row["tables"]["hello"]) == CONTESTANTS
    for (sample,) in row["tables"]["hello"].values():
        assert sample["errors"] == 0
        assert sample["requests/s"] > 0
        assert sample["CPU µs/request"] > 0
    report = (tmp_path / "REPORT.md").read_text()
    assert "| 1 | hello, requests/s | ≥ 1 x best peer |" in report
    assert "![hello-requests](plots/hello-requests.svg)" in report
    assert (tmp_path / "plots/hello-requests.svg").read_text().rstrip().endswith("</svg>")
