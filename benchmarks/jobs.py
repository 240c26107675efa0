"""Stops the worker of a job queue again and again, and counts lost jobs: `make measure WHAT=jobs`.

For Celery and for RQ: puts jobs into a queue in Redis, starts a worker by `run`, and does
`docker stop` and `docker start` to it while it works. A job is lost if it is not done when the
worker finds no more jobs.

    python -m benchmarks.jobs --jobs 1000 --stops 20
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks import common
from benchmarks.common import wait_for_jobs
from tests.support.harness import Engine
from tests.support.jobs import WORKERS, Queue, Worker

RUNNING = "return redis.call('HLEN', 'begun') - redis.call('HLEN', 'done')"
COLUMNS = (
    "Queue",
    "Jobs",
    "Stops",
    "Jobs that ran at a stop",
    "Lost",
    "Run twice",
    "Exit codes",
    "A stop took",
)


class Outcome(NamedTuple):
    """codes: of the stops; running: jobs that had begun and were not done when a stop came."""

    lost: list[int]
    twice: list[int]
    codes: list[int]
    seconds: list[float]
    running: int


def measure(engine: Engine, kind: Worker, jobs: int, stops: int) -> Outcome:
    """Stop a worker of this kind a number of times, while it does a number of jobs."""
    queue = Queue(engine)
    queue.enqueue(kind, range(jobs))
    worker = queue.start(kind)
    codes, seconds, running = [], [], 0

    def finished() -> int:
        return int(queue.ask("HLEN", "done"))

    for stop in range(stops):
        # Each stop leaves jobs for those that follow, and comes at another moment of a job.
        done = finished()
        wait_for_jobs(finished, done + (jobs - done) // (stops - stop + 1))
        time.sleep(stop % 5 * 0.04)
        running += int(queue.ask("EVAL", RUNNING, "0"))
        code, took = worker.stop()
        codes.append(code)
        seconds.append(took)
        worker.docker.start()
    wait_for_jobs(finished, jobs)
    begun, ended = queue.counts("begun"), queue.counts("done")
    return Outcome(
        [n for n in range(jobs) if not ended.get(n)],
        [n for n, times in begun.items() if times > 1],
        codes,
        seconds,
        running,
    )


def main() -> None:
    """Measure both, and print a table."""
    parser = common.parser(__doc__, jobs=1000, stops=20)
    parser.add_argument("--kinds", nargs="+", default=list(WORKERS), choices=list(WORKERS))
    options = parser.parse_args()
    common.print_head(*COLUMNS)
    for kind in options.kinds:
        with common.engine("jobs") as engine:
            outcome = measure(engine, WORKERS[kind], options.jobs, options.stops)
        common.print_row(
            kind,
            f"{options.jobs:,}",
            options.stops,
            outcome.running,
            len(outcome.lost),
            len(outcome.twice),
            ", ".join(map(str, sorted(set(outcome.codes)))),
            common.spread(outcome.seconds, "s"),
        )


if __name__ == "__main__":
    main()
