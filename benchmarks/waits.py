"""A burst of requests that wait: what its first seconds and its later ones bring."""

from __future__ import annotations

from benchmarks.measure import ERRORS, MEMORY, P99, RATE, Sample, Serving

# Seconds of a burst: until time-outs count, until the rate counts, and of its end.
EARLY, LATE, END = 4, 8, 14
PATIENCE = 2  # seconds that a client waits
LATER, FIRST = f"{RATE} after 8 s", f"{RATE} in 4 s"
TIMEOUTS = "time-outs after 4 s"


def burst(server: Serving, path: str, connections: int) -> Sample:
    """A burst on a container that is at rest."""
    parts = [
        server.press(path, end - begin, connections, PATIENCE)
        for begin, end in ((0, EARLY), (EARLY, LATE), (LATE, END))
    ]
    return {
        LATER: parts[2][RATE],
        P99: parts[2][P99],
        FIRST: parts[0][RATE],
        TIMEOUTS: sum(part[ERRORS] for part in parts[1:]),
        MEMORY: server.cgroup.memory(),
    }
