"""Calls the application without any server, again and again: what Flask alone costs.

    python3 loop.py PATH SECONDS [BYTES OF A POST'S BODY]

Prints a line of JSON: how many calls, and the processor's and the wall's seconds that they took.
"""

from __future__ import annotations

import json
import sys
import time
from io import BytesIO
from typing import Any

from werkzeug.test import EnvironBuilder

from app import app


def call(template: dict[str, Any], body: bytes) -> None:
    """One request, with an environment of its own, answered to the end."""

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        assert status == "200 OK", status

    answer = app({**template, "wsgi.input": BytesIO(body)}, start_response)
    for _ in answer:
        pass
    answer.close()


def main() -> None:
    """Call for so many seconds, after a tenth of that to warm up."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    body = b"x" * int(sys.argv[3]) if len(sys.argv) > 3 else b""
    template = EnvironBuilder(path, method="POST" if body else "GET", data=body).get_environ()
    for span in (seconds / 10, seconds):
        calls, wall, processor = 0, time.monotonic(), time.process_time()
        while time.monotonic() < wall + span:
            call(template, body)
            calls += 1
        wall, processor = time.monotonic() - wall, time.process_time() - processor
    print(json.dumps({"calls": calls, "cpu": processor, "seconds": wall}))


if __name__ == "__main__":
    main()
