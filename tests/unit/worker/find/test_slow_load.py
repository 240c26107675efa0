"""The lines about an import that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HANGS = """
import sys, time
from docker_flask.worker.find import slow_load
with slow_load.reported(0.3, sys.argv[1]):
    time.sleep(1)
"""


def test_one_of_several_workers_that_hang_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGS, str(tmp_path / "lock")]
    workers = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [line for each in workers for line in "".join(each.communicate()).splitlines()]
    assert len(said) == 2, said
    assert all("the application still loads, after 0." in line for line in said)
