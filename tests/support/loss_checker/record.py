"""Joins what the client saw with what the application noted, and says what was lost.

python3 -m judge.record --record DIRECTORY result.json [result.json ...]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.support.loss_checker.result import Record, Result, Verdict

ID = re.compile(r"\b[0-9a-f]{10}-[0-9]+\b")  # as the client makes them


class Note(NamedTuple):
    """One line of the application's record."""

    pid: int
    at: float  # s, time.monotonic(): the client's clock, if both run on one machine


@dataclass
class AppRecord:
    """Every start and every end that the application noted, by id."""

    starts: dict[str, list[Note]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[str, list[Note]] = field(default_factory=lambda: defaultdict(list))


def read_record(directory: Path) -> AppRecord:
    """Read all *.log in `directory`. A line that is no whole note raises: half a proof is none."""
    if not directory.is_dir():
        raise NotADirectoryError(directory)
    record = AppRecord()
    for path in sorted(directory.glob("*.log")):
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if not line.endswith("\n"):
                    raise ValueError
                kind, ident, pid, nanoseconds = line.split()
                notes = {"S": record.starts, "E": record.ends}[kind]
                notes[ident].append(Note(int(pid), int(nanoseconds) / 1e9))
            except (ValueError, KeyError):
                raise ValueError(f"{path}: not a note of the application: {line!r}") from None
    return record


def ids_in_log(text: str) -> set[str]:
    """The ids of this client's requests in any server's log that has its request lines."""
    return set(ID.findall(text))


@dataclass
class Verdicts:
    """The table of one load or of several. Each request that was not ok is in one of five lists."""

    tries: int
    counts: dict[str, int]
    begun_lost: list[Record]  # the application began it, the client got no whole right answer
    sent_lost: list[Record]  # sent to somebody, begun by nobody, not answered as it should be
    turned_away: list[Record]  # 503 with Retry-After before the application saw it
    never_accepted: list[Record]  # reset together with the queue in which it waited
    unsent: list[Record]  # refused, or ended before a byte of it was sent
    finished_lost: list[Record]  # those of begun_lost that the application also finished
    run_twice: list[str]  # ids that the application began more than once
    most_runs: int  # how often the most-run id was begun
    unrecorded: int  # ok without a start in the record: the record is incomplete, trust nothing
    unknown: int  # starts of ids that no client asked about: some client's result is missing

    def lost(self) -> list[Record]:
        """Requests that the application began, or that must be taken as accepted by a server."""
        return self.begun_lost + self.sent_lost

    def never_begun(self) -> list[Record]:
        """Requests that were not ok and of which the application never heard."""
        return self.sent_lost + self.turned_away + self.never_accepted + self.unsent

    def __add__(self, other: Verdicts) -> Verdicts:
        """The table of both; `most_runs` is the greater one."""
        sums = {
            name: value + getattr(other, name)
            for name, value in vars(self).items()
            if name not in ("counts", "most_runs")
        }
        counts = {name: n + other.counts[name] for name, n in self.counts.items()}
        return Verdicts(**sums, counts=counts, most_runs=max(self.most_runs, other.most_runs))

    def rows(self) -> dict[str, int]:
        """The whole table as numbers, by name."""
        lists = (
            "begun_lost",
            "sent_lost",
            "turned_away",
            "never_accepted",
            "unsent",
            "finished_lost",
            "run_twice",
        )
        return {
            "tries": self.tries,
            **self.counts,
            "lost": len(self.lost()),
            **{name: len(getattr(self, name)) for name in lists},
            "unrecorded": self.unrecorded,
            "unknown": self.unknown,
        }

    def markdown(self) -> str:
        """The table for a report, with the bound on the true rate of loss."""
        lines = [f"| {name} | {number} |" for name, number in self.rows().items()]
        bound = upper_bound(len(self.lost()), self.tries)
        lines.append(f"| lost, upper bound (95 %) | {bound:.3g} |")
        return "\n".join(["| verdict | requests |", "|---|---:|", *lines])


def check(result: Result, record: AppRecord, accepted: Collection[str] | None = None) -> Verdicts:
    """Join one load's result with the application's record.

    A client cannot see whether a connection that is reset after its request was sent had been
    accepted: the kernel takes the bytes in either case. So it counts as lost, unless `accepted`
    says better: the ids in the log of the server in front. That log is evidence only if the server
    ended by itself and so logged all that it had accepted; a killed one did not.
    """
    lists: dict[str, list[Record]] = {
        "begun_lost": [],
        "sent_lost": [],
        "turned_away": [],
        "never_accepted": [],
        "unsent": [],
    }
    for one in result.records:
        if one.verdict != Verdict.OK:
            lists[_kind_of_failure(one, one.id in record.starts, accepted)].append(one)
    mine = {one.id for one in result.records}
    runs = {ident: len(notes) for ident, notes in record.starts.items() if ident in mine}
    return Verdicts(
        tries=len(result.records),
        counts=result.counts,
        finished_lost=[one for one in lists["begun_lost"] if one.id in record.ends],
        run_twice=[ident for ident, times in runs.items() if times > 1],
        most_runs=max(runs.values(), default=0),
        unrecorded=sum(
            one.verdict == Verdict.OK and one.id not in record.starts for one in result.records
        ),
        unknown=sum(ident not in mine for ident in record.starts),
        **lists,
    )


def _kind_of_failure(one: Record, begun: bool, accepted: Collection[str] | None) -> str:
    if begun:
        return "begun_lost"
    if not one.sent:
        return "unsent"
    if one.verdict == Verdict.RETRY_LATER:
        return "turned_away"
    # A queue that is thrown away is reset. A clean end, or an earlier answer on the connection,
    # comes from somebody who had accepted it.
    if (
        accepted is not None
        and one.id not in accepted
        and one.verdict == Verdict.RESET_SENT
        and one.detail == "ECONNRESET"
        and not one.reused
    ):
        return "never_accepted"
    return "sent_lost"


def upper_bound(failures: int, tries: int, confidence: float = 0.95) -> float:
    """The rate of failure that `failures` in `tries` rule out, one-sided (Clopper and Pearson).

    The greatest rate at which so few failures would still be seen with a probability of
    1 - `confidence`. Without any failure it is near 3 / tries, the "rule of three".
    """
    if failures >= tries:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(100):  # halvings: more than a float has digits
        middle = (low + high) / 2
        if _probability_of_at_most(failures, tries, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _probability_of_at_most(failures: int, tries: int, rate: float) -> float:
    """P(X <= failures) for X binomial, by logarithms: the factors leave a float's range."""
    if not 0 < rate < 1:
        return float(rate <= 0)
    term = tries * math.log1p(-rate)
    odds = math.log(rate) - math.log1p(-rate)
    total = math.exp(term)
    for number in range(failures):
        term += math.log((tries - number) / (number + 1)) + odds
        total += math.exp(term)
    return total


def main(arguments: list[str] | None = None) -> int:
    """The command line: the table, then the lost requests one by one.

    Exit code 1 if there are any, or if the record is incomplete and so cannot tell.
    """
    parser = argparse.ArgumentParser(prog="judge.record", description="Says what was lost.")
    parser.add_argument("--record", type=Path, required=True, help="the application's RECORD_DIR")
    parser.add_argument("--server-log", type=Path, help="of a server that ended by itself")
    parser.add_argument("results", type=Path, nargs="+", help="what judge.client wrote")
    options = parser.parse_args(arguments)
    first, *others = [Result.load(path) for path in options.results]
    log = options.server_log
    accepted = ids_in_log(log.read_text(encoding="utf-8")) if log else None
    verdicts = check(first.merge(*others), read_record(options.record), accepted)
    print(verdicts.markdown())
    for one in verdicts.lost():
        print(json.dumps(one._asdict()))
    return 1 if verdicts.lost() or verdicts.unrecorded else 0


if __name__ == "__main__":
    sys.exit(main())
