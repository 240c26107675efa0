"""What each test took, and which were retried: a file that several runs of pytest append to."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest


class Times:
    """A plug-in of pytest that writes a line for each test: seconds, number of tries and name."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tries: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test: set-up, call or tear-down."""
        self._seconds[report.nodeid] += report.duration
        self._tries[report.nodeid] += report.when == "setup"

    def pytest_sessionfinish(self) -> None:
        """Append the lines."""
        with self._file.open("a") as file:
            for name, seconds in self._seconds.items():
                file.write(f"{seconds:.2f} {self._tries[name]} {name}\n")
