"""A request that runs, as a worker describes it to process 1, and process 1 to `status`.

The application has the worker's descriptor, too: what arrives is bounded, and nothing in it can
change a terminal.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from docker_flask.shared.control import printable

# Letters of a text; requests of one worker, and their bytes, so that a message has room for them.
MAX_TEXT, MAX_REQUESTS, MAX_BYTES = 300, 100, 100_000


@dataclass(frozen=True)
class RunningRequest:
    """seconds: since its start. path: without the query. place: in which lines of code it is."""

    seconds: float
    method: str
    path: str
    request_id: str
    place: str

    def __str__(self) -> str:
        """The request in a line of the log."""
        known = f"{self.method} {self.path}, request {self.request_id}"
        return f"{known}, in {self.place}" if self.place else known


def to_json(requests: Iterable[RunningRequest]) -> list[dict[str, Any]]:
    """The longest requests first, no more than a message holds."""
    rows, size = [], 0
    for each in sorted(requests, key=lambda each: -each.seconds)[:MAX_REQUESTS]:
        rows.append(asdict(each))
        size += len(json.dumps(rows[-1])) + 2  # a comma and a space
        if size > MAX_BYTES:
            return rows[:-1]
    return rows


def from_json(rows: Any) -> list[RunningRequest]:
    """The requests of a message; without what is none."""
    found = []
    for row in rows[:MAX_REQUESTS] if isinstance(rows, list) else ():
        try:
            found.append(_checked(**row))
        except (TypeError, ValueError, OverflowError, RecursionError):
            continue
    return found


def _checked(seconds: Any, **texts: Any) -> RunningRequest:
    shown = {name: printable(str(text)[:MAX_TEXT]) for name, text in texts.items()}
    known = {name: text.replace("\n", "?") for name, text in shown.items()}
    return RunningRequest(seconds=max(0.0, min(float(seconds), 1e9)), **known)
