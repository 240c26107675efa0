"""Runs code in forks of a process that has imported Flask: a fork takes 10 ms, a start 300 ms."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

from tests.support.harness import ROOT

SERVER = """
import json, os, sys, traceback
import flask

for line in sys.stdin:
    code, arguments, environment = json.loads(line)
    if not os.fork():
        os.environ.update(environment)
        sys.argv[1:] = arguments
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("\\nEND", flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: str, env: dict[str, str] | None = None) -> Any:
    """Run Python code in a fork; returns what it printed last, as JSON."""
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps([code, arguments, env or {}]) + "\n")
    server.stdin.flush()
    lines = []
    while (line := server.stdout.readline()) not in ("END\n", ""):
        lines.append(line)
    return json.loads(next(line for line in reversed(lines) if line.strip()))
