"""What numbers of workers and threads bring and cost: `make measure WHAT=sizing`.

    python -m benchmarks.sizing --rounds 3 --only defaults "4 workers" --loads hello

All variants run at the same time, and are loaded in turns; the numbers are medians over the rounds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from benchmarks import common
from benchmarks.contestants import CONTESTANTS, Contestant, ours
from benchmarks.measure import CPU, ERRORS, MEMORY, P99, RATE, Sample, serving

APP = Path(__file__).parent / "app"
# Path and number of connections.
LOADS = {"hello": ("/", 64), "5 ms of work": ("/compute", 64), "50 ms of waiting": ("/block", 256)}
COLUMNS = (RATE, CPU, P99, MEMORY, ERRORS)


def fixed(workers: int, threads: int = 1) -> Contestant:
    """This image with so many workers."""
    name = f"{workers} workers" + (f" of {threads} threads" if threads > 1 else "")
    return ours(name, "", WEB_CONCURRENCY=str(workers), THREADS=str(threads))


VARIANTS = [
    ours("defaults", ""),
    *(fixed(workers) for workers in (2, 4, 8, 16, 32)),
    *(fixed(2, threads) for threads in (8, 32)),
    *(fixed(4, threads) for threads in (2, 16, 64)),
    *(one for one in CONTESTANTS if one.name == "gunicorn gevent"),
]


def main() -> None:
    """Measure, and print a table for each load."""
    parser = common.parser(__doc__, rounds=3, seconds=3)
    parser.add_argument("--only", nargs="+", default=[one.name for one in VARIANTS])
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=list(LOADS))
    options = parser.parse_args()
    loads = {load: LOADS[load] for load in options.loads}
    found: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        servers = {
            one.name: stack.enter_context(serving(one, one.image(), APP, heavy=False))
            for one in VARIANTS
            if one.name in options.only
        }
        for number in range(options.rounds):
            for load, (path, connections) in loads.items():
                common.report(f"round {number + 1}: {load}")
                for name, server in servers.items():
                    found[load, name].append(server.load(path, options.seconds, connections))
    for load, (_, connections) in loads.items():
        common.print_head(f"{load}, {connections} connections", *COLUMNS)
        for name in servers:
            samples = found[load, name]
            medians = (
                statistics.median(one.get(column, 0) for one in samples) for column in COLUMNS
            )
            common.print_row(name, *(f"{value:,.0f}" for value in medians))


if __name__ == "__main__":
    main()
