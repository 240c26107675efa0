"""How many workers have loaded, and how many have ended, by reason; over all generations."""

from collections import Counter

# Of a worker: its share of MAX_REQUESTS; MAX_WORKER_MEMORY; REQUEST_TIMEOUT; fewer requests wait;
# a stop of its server, for a reload for example; everything else.
STOP, CRASH = "stop", "crash"
REASONS = ("requests", "memory", "timeout", "quiet", STOP, CRASH)


class WorkerCounts:
    """started: workers that have loaded the application; ended: by one of REASONS."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: Counter[str] = Counter()

    def note_end(self, reason: str) -> None:
        """Count the end of a worker; reason: its own word, or nothing."""
        self.ended[reason if reason in REASONS else CRASH] += 1
