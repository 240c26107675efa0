"""Verdicts, one record per request, and the result that one load leaves behind."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple


class Verdict(StrEnum):
    """What became of one request, as its client saw it. Each request gets exactly one."""

    OK = "ok"  # 200, whole, and the response to this very request
    REFUSED = "refused"  # nobody listened
    RESET_UNSENT = "reset_unsent"  # the connection ended before a byte of the request was sent
    RESET_SENT = "reset_sent"  # it ended after that, without a whole response head
    CUT_SHORT = "cut_short"  # a response head, but not all of its body
    ERROR_5XX = "5xx"
    RETRY_LATER = "503_retry_after"  # turned away: 503 that says when to come back
    ERROR_4XX = "4xx"
    TIMEOUT = "timeout"  # not finished within the client's own bound
    WRONG_BODY = "wrong_body"  # whole, but the response to something else
    UNEXPECTED = "unexpected"  # not HTTP, or a status that no request here asks for
    CLIENT_ERROR = "client_error"  # the client's own limits (descriptors, ports): no measurement


class Record(NamedTuple):
    """One request. Points in time are time.monotonic(), which the application notes as well."""

    id: str
    verdict: Verdict
    status: int | None  # None without a whole response head
    start: float  # s; when it was due (steady rate) or when it began (closed loop)
    late_ms: float  # how long after that the client really began
    latency_ms: float  # from `start` to the verdict
    port: int  # the client's own port, 0 if it never got one
    sent: bool  # at least one byte of the request was handed to the kernel
    reused: bool  # the connection had answered an earlier request, so somebody had accepted it
    detail: str  # what ended it, for a reader: "EOF", "ECONNRESET", "connect", ...

    @property
    def end(self) -> float:
        """When the verdict fell, in seconds of time.monotonic()."""
        return self.start + self.latency_ms / 1000


@dataclass
class Result:
    """All records of one load (or of several, merged)."""

    began: float  # s, time.monotonic()
    ended: float
    records: list[Record]

    @property
    def counts(self) -> dict[str, int]:
        """Requests per verdict, every verdict named, also those with none."""
        seen = Counter(record.verdict for record in self.records)
        return {str(verdict): seen[verdict] for verdict in Verdict}

    def percentile(self, percent: float) -> float | None:
        """Latency in ms that `percent` % of the requests with a good response did not exceed."""
        return percentile([r.latency_ms for r in self.records if r.verdict == Verdict.OK], percent)

    def late_percentile(self, percent: float) -> float | None:
        """The same of how late requests were sent, in ms: whether the client kept up."""
        return percentile([r.late_ms for r in self.records], percent)

    def between(self, start: float, end: float) -> Result:
        """Only the requests that were due in [start, end), in seconds of time.monotonic()."""
        inside = [r for r in self.records if start <= r.start < end]
        return Result(max(start, self.began), min(end, self.ended), inside)

    def longest_gap(self) -> float:
        """The longest time in seconds, from beginning to end, in which no request came back ok."""
        answers = sorted(r.end for r in self.records if r.verdict == Verdict.OK)
        return max(b - a for a, b in pairwise([self.began, *answers, max(self.ended, self.began)]))

    def merge(self, *others: Result) -> Result:
        """One result that holds this load and the others."""
        loads = [self, *others]
        return Result(
            min(load.began for load in loads),
            max(load.ended for load in loads),
            [record for load in loads for record in load.records],
        )

    def dump(self, path: Path) -> None:
        """Write everything to `path` as JSON."""
        # In one piece: json.dump() to a file takes several times as long.
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what dump() wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        records = [Record(*values) for values in content["records"]]
        content["records"] = [one._replace(verdict=Verdict(one.verdict)) for one in records]
        return cls(**content)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The least of the values that `percent` % of them do not exceed; None where there is none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
