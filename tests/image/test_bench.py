"""The benchmark in short: three contestants, a round of a second. Errors count here, not times."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONTESTANTS = ["ours", "Flask's development server", "limit: bare pair"]


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk here; `tools/install wrk` installs it")
@pytest.mark.timeout(600)  # it may have to build the other image
def test_short_benchmark_makes_a_report_without_errors(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    options = ["--rounds", "1", "--seconds", "1", "--rows", "hello", "--out", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", *options, "--only", *CONTESTANTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in report.read_text().splitlines()]
    columns = next(row for row in rows if row[-1] == "PSS MB |")
    for name in CONTESTANTS:
        row = dict(zip(columns, next(row for row in rows if row[0] == f"| {name}"), strict=True))
        assert row["errors"] == "0"
        assert float(row["requests/s"].replace(",", "")) > 0
        assert float(row["CPU µs/request"].replace(",", "")) > 0
    assert "limit: bare pair 1.00" in report.read_text()
