"""Stops the worker of a job queue again and again, and counts lost jobs: `make measure WHAT=jobs`.

For Celery and for RQ: puts jobs into a queue in Redis, starts a worker by `run`, and does
`docker stop` and `docker start` to it while it works. A job is lost if it is not done when the
worker finds no more jobs.

    python -m benchmarks.jobs --jobs 1000 --stops 20
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from typing import NamedTuple

from tests.support.harness import Engine
from tests.support.jobs import WORKERS, Queue, Worker

RUNNING = "return redis.call('HLEN', 'begun') - redis.call('HLEN', 'done')"
# Seconds in which a worker does no job, although it runs: the rest is lost. Longer than Celery's
# visibility_timeout in tests/apps/jobs/tasks.py, after which jobs of killed workers come back.
IDLE = 60.0
COLUMNS = (
    *("Queue", "Jobs", "Stops", "Jobs that ran at a stop", "Lost", "Run twice", "Exit codes"),
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
    for stop in range(stops):
        # Each stop leaves jobs for those that follow, and comes at another moment of a job.
        done = len(queue.counts("done"))
        wait_for_jobs(queue, done + (jobs - done) // (stops - stop + 1))
        time.sleep(stop % 5 * 0.04)
        running += int(queue.ask("EVAL", RUNNING, "0"))
        code, took = worker.stop()
        codes.append(code)
        seconds.append(took)
        worker.docker.start()
    wait_for_jobs(queue, jobs)
    begun, ended = queue.counts("begun"), queue.counts("done")
    return Outcome(
        [n for n in range(jobs) if not ended.get(n)],
        [n for n, times in begun.items() if times > 1],
        codes,
        seconds,
        running,
    )


def wait_for_jobs(queue: Queue, goal: int) -> None:
    """Wait until this number of jobs is done, or the worker does nothing."""
    done, last = 0, time.monotonic()
    while done < goal and time.monotonic() - last < IDLE:
        time.sleep(0.5)
        before, done = done, int(queue.ask("HLEN", "done"))
        if done > before:
            last = time.monotonic()


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=list(WORKERS), choices=list(WORKERS))
    options = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for kind in options.kinds:
        engine = Engine(secrets.token_hex(4))
        try:
            outcome = measure(engine, WORKERS[kind], options.jobs, options.stops)
        finally:
            engine.remove_containers()
        median, longest = statistics.median(outcome.seconds), max(outcome.seconds)
        cells = [
            kind,
            f"{options.jobs:,}",
            str(options.stops),
            str(outcome.running),
            str(len(outcome.lost)),
            str(len(outcome.twice)),
            ", ".join(map(str, sorted(set(outcome.codes)))),
            f"{median:.1f} s, at most {longest:.1f} s",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
