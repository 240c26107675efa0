"""Requests that wait, here and elsewhere: `make measure WHAT=waiting`.

    python -m benchmarks.waiting --rounds 3 --only ours granian --loads "50 ms, 256"

Each contestant has a fresh container for each load, in turns. What happens in the first seconds of
a burst counts as well as what comes later. After the first load: what is left of the burst.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import common
from benchmarks.contestants import CONTESTANTS, LOADS, Contestant
from benchmarks.measure import CPU, Sample, Serving, serving
from benchmarks.waits import burst

APP = Path(__file__).parent / "app"
NAMES = ("ours", "granian", "gunicorn gevent", "gunicorn gthread", "gunicorn gthread 2 x 32")
# Seconds in which the memory has to be free again.
REST = 45
AFTER, HELLO = "MB 45 s later", "hello's CPU later"


def burst_and_later(server: Serving, path: str, connections: int, seconds: float) -> Sample:
    """The same with hello before it and after it, whose CPU time is compared."""
    before = server.load("/", seconds)
    during = burst(server, path, connections)
    time.sleep(REST)
    after = server.load("/", seconds)
    return {**during, AFTER: server.cgroup.memory(), HELLO: after[CPU] / before[CPU]}


def measure(load: str, one: Contestant, seconds: float) -> Sample:
    """One load on one contestant."""
    with serving(one, one.image(), APP, heavy=False) as server:
        if load == next(iter(LOADS)):
            return burst_and_later(server, *LOADS[load], seconds)
        return burst(server, *LOADS[load])


def main() -> None:
    """Measure, and print a table for each load."""
    parser = common.parser(__doc__, rounds=3, seconds=3)
    parser.add_argument("--only", nargs="+", default=list(NAMES))
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=list(LOADS))
    options = parser.parse_args()
    chosen: list[Contestant] = [one for one in CONTESTANTS if one.name in options.only]
    found: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for number in range(options.rounds):
        for load in options.loads:
            for one in chosen:
                sample = measure(load, one, options.seconds)
                found[load, one.name].append(sample)
                common.report(f"round {number + 1}: {load}: {one.name}: {sample}")
    for load in options.loads:
        columns = list(found[load, chosen[0].name][0])
        common.print_head(load, *columns)
        for one in chosen:
            samples = found[load, one.name]
            medians = [statistics.median(each[name] for each in samples) for name in columns]
            common.print_row(one.name, *(f"{value:,.4g}" for value in medians))


if __name__ == "__main__":
    main()
