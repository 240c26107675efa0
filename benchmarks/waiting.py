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
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.measure import CPU, ERRORS, MEMORY, P99, RATE, Sample, Serving, serving

APP = Path(__file__).parent / "app"
# Path and number of connections.
LOADS = {
    "50 ms, 256": ("/wait/50", 256),
    "5 ms, 256": ("/wait/5", 256),
    "50 ms, 16": ("/wait/50", 16),
    "500 ms, 1000": ("/wait/500", 1000),
    "20 ms and 2 ms of work, 64": ("/mixed", 64),
}
NAMES = ("ours", "granian", "gunicorn gevent", "gunicorn gthread", "gunicorn gthread 2 x 32")
# Seconds of a burst: until time-outs count, until the rate counts, and of its end.
EARLY, LATE, END = 4, 8, 14
# Seconds that a client waits, and that the memory has to be free again.
PATIENCE, REST = 2, 45
TIMEOUTS, AFTER, HELLO = "time-outs after 4 s", "MB 45 s later", "hello's CPU later"
COLUMNS = (f"{RATE} after 8 s", P99, f"{RATE} in 4 s", TIMEOUTS, MEMORY)


def burst(server: Serving, path: str, connections: int) -> Sample:
    """A burst on a container that has served nothing but hello."""
    parts = [
        server.press(path, end - begin, connections, PATIENCE)
        for begin, end in ((0, EARLY), (EARLY, LATE), (LATE, END))
    ]
    return {
        COLUMNS[0]: parts[2][RATE],
        P99: parts[2][P99],
        COLUMNS[2]: parts[0][RATE],
        TIMEOUTS: sum(part[ERRORS] for part in parts[1:]),
        MEMORY: server.cgroup.memory(),
    }


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
