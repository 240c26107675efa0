"""Joins what the client saw with what the application noted, and says what was lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

from tests.support.loss_checker.result import Record, Result, Verdict

ID = re.compile(r"\b[0-9a-f]{10}-[0-9]+\b")  # as the client makes them
NOTE = re.compile(r"([SE]) (\S+) \d+ \d+\n")


@dataclass
class AppRecord:
    """How often the application noted the start and the end of each id."""

    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)


def read_record(directory: Path) -> AppRecord:
    """Read all *.log in `directory`. A damaged line raises: half a proof is none."""
    if not directory.is_dir():
        raise NotADirectoryError(directory)
    record = AppRecord()
    for path in sorted(directory.glob("*.log")):
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            found = NOTE.fullmatch(line)
            if not found:
                raise ValueError(f"{path}: not a note of the application: {line!r}")
            kind, ident = found.groups()
            (record.starts if kind == "S" else record.ends)[ident] += 1
    return record


def ids_in_log(text: str) -> set[str]:
    """The ids of this client's requests in any server's log that has its request lines."""
    return set(ID.findall(text))


@dataclass
class Verdicts:
    """The table of one load. Each request that was not ok is in one of five lists."""

    tries: int
    counts: dict[str, int]
    run_twice: list[str]  # ids that the application began more than once
    most_runs: int  # how often the most-run id was begun
    unrecorded: int  # ok without a start in the record: the record is incomplete, trust nothing
    unknown: list[str]  # begun without a client that asked: some client's result is missing
    # The application began it, the client got no whole right response.
    begun_lost: list[Record] = field(default_factory=list)
    # Sent on an open connection, not begun by the application, without a correct response.
    sent_lost: list[Record] = field(default_factory=list)
    # 503 with Retry-After before the application saw it.
    turned_away: list[Record] = field(default_factory=list)
    # Reset together with the queue in which it waited.
    never_accepted: list[Record] = field(default_factory=list)
    # Refused, or ended before a byte of it was sent.
    unsent: list[Record] = field(default_factory=list)

    def lost(self) -> list[Record]:
        """Requests that the application began, or that must be taken as accepted by a server."""
        return self.begun_lost + self.sent_lost

    def rows(self) -> dict[str, int]:
        """The whole table as numbers, by name."""
        rows = {"tries": self.tries, **self.counts, "lost": len(self.lost())}
        rows |= {name: len(found) for name, found in vars(self).items() if isinstance(found, list)}
        return rows | {"unrecorded": self.unrecorded}


def check(result: Result, record: AppRecord, accepted: Collection[str] | None = None) -> Verdicts:
    """Join one load's result with the application's record.

    A client cannot see whether a connection that is reset after its request was sent had been
    accepted: the kernel takes the bytes in either case. So it counts as lost, unless `accepted`
    says better: the ids in the log of the server in front. That log is evidence only if the server
    ended by itself and so logged all that it had accepted; a killed one did not.
    """
    mine = {one.id for one in result.records}
    runs = {ident: times for ident, times in record.starts.items() if ident in mine}
    good = {one.id for one in result.records if one.verdict == Verdict.OK}
    verdicts = Verdicts(
        tries=len(result.records),
        counts=result.counts,
        run_twice=[ident for ident, times in runs.items() if times > 1],
        most_runs=max(runs.values(), default=0),
        unrecorded=len(good - record.starts.keys()),
        unknown=sorted(record.starts.keys() - mine),
    )
    for one in result.records:
        if one.id not in good:
            kind = _kind_of_failure(one, one.id in record.starts, accepted)
            getattr(verdicts, kind).append(one)
    return verdicts


def _kind_of_failure(one: Record, begun: bool, accepted: Collection[str] | None) -> str:
    if begun:
        return "begun_lost"
    if not one.sent:
        return "unsent"
    if one.verdict == Verdict.RETRY_LATER:
        return "turned_away"
    # A queue that is thrown away is reset. A clean end, or an earlier response on the connection,
    # comes from a program that had accepted the connection.
    reset = one.verdict == Verdict.RESET_SENT and one.detail == "ECONNRESET" and not one.reused
    if reset and accepted is not None and one.id not in accepted:
        return "never_accepted"
    return "sent_lost"


def upper_bound(failures: int, tries: int, confidence: float = 0.95) -> float:
    """The rate of failure that `failures` in `tries` rule out, one-sided (Poisson's distribution).

    By Wilson's and Hilferty's approximation, to 1 %. Without any failure it is near 3 / tries, the
    "rule of three".
    """
    most = failures + 1
    deviation = NormalDist().inv_cdf(confidence) / (3 * most**0.5)
    return min(1.0, most * (1 - 1 / (9 * most) + deviation) ** 3 / tries)
