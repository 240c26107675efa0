"""Counts the requests that nginx has answered, from a short access log in a pipe.

nginx inherits the pipe: a file in the runtime folder could be replaced by the application.
nginx writes up to 4 KB at once, which a pipe keeps in one piece, and at most a second late: a
killed nginx loses that second. The numbers are exact over reloads, and over killed and recycled
workers. Most lines of a block are equal, so Python looks at each different line once.
"""

import bisect
import contextlib
import fcntl
import functools
import operator
import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from docker_flask.shared.loop import Loop

# Upper bounds of the histograms, seconds.
BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"
USUAL_STATUSES = (
    "200",
    "204",
    "301",
    "302",
    "304",
    "400",
    "401",
    "403",
    "404",
    "405",
    "413",
    "422",
    "429",
    "499",
    "500",
    "502",
    "503",
    "504",
)
# Bytes of the pipe, more than nginx writes while this process does something else. The kernel's
# maximum for users is 1 MB.
PIPE_SIZE = 1 << 20
# Bytes that wait to be counted.
MAX_WAITING = 1 << 18
# Bytes of a line; the pipe belongs to the application's user, too.
MAX_LINE = 4096
# Characters of a line whose numbers are kept, and how many lines are: most lines come again.
MAX_KEPT, KEPT = 100, 1024
# Seconds of a slot, and how many make up the last minute.
SLOT, SLOTS = 5.0, 12


# A line: status, method, bytes, the whole time (s); and of the tries on a worker: statuses, times.
_TIME = re.compile(r"\d{1,7}\.\d{3}")
_LINE = re.compile(
    rf"(\d{{3}})\|([^|]*)\|(\d{{1,15}})\|({_TIME.pattern})\|([-\d, :]*)\|([-\d., :]*)"
)


@functools.lru_cache(KEPT)
def _parsed(line: str) -> tuple[tuple[str, str], int, float, float | None, bool] | None:
    """Method and status, bytes, whole time, the application's time, and whether nginx refused."""
    found = _LINE.fullmatch(line)
    if not found:
        return None
    status, method, size, whole, of_application, application = found.groups()
    # After a failed try on a worker that died, there are two times.
    times = _TIME.findall(application)
    return (
        (method if method in METHODS else OTHER, status),
        int(size),
        float(whole),
        sum(map(float, times)) if times else None,
        status == "503" and "503" not in of_application,
    )


@dataclass
class Histogram:
    """Times of requests: counts by `BOUNDS`, the last one without a bound, and their sum (s)."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float, number: int) -> None:
        """Add a number of requests that took equally long."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += number
        self.total += seconds * number

    def join(self, other: "Histogram") -> None:
        """Add the requests of another histogram."""
        self.counts = list(map(operator.add, self.counts, other.counts))
        self.total += other.total

    def share(self, share: float) -> float:
        """The time (s) below which this share of the requests is; estimated between the bounds."""
        wanted, seen = share * sum(self.counts), 0
        ends = zip(self.counts, (0.0, *BOUNDS), (*BOUNDS, BOUNDS[-1]), strict=True)
        for count, low, high in ends:
            if count and seen + count >= wanted:
                return low + (high - low) * (wanted - seen) / count
            seen += count
        return 0.0


@dataclass
class Counts:
    """requests: by method and status. whole: with the client; application: with its queue.

    refused: requests that got 503 from nginx.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    whole: Histogram = field(default_factory=Histogram)
    application: Histogram = field(default_factory=Histogram)
    sent_bytes: int = 0
    refused: int = 0

    def add(self, line: str, number: int) -> None:
        """Add a number of equal lines; a line that nginx has not written changes nothing."""
        found = (_parsed if len(line) <= MAX_KEPT else _parsed.__wrapped__)(line)
        if not found:
            return
        request, size, whole, application, is_refused = found
        self.requests[request] += number
        self.sent_bytes += size * number
        self.refused += is_refused * number
        self.whole.add(whole, number)
        if application is not None:
            self.application.add(application, number)

    def sum(self, others: "Iterable[Counts]") -> None:
        """Add other counts."""
        for other in others:
            self.requests.update(other.requests)
            self.sent_bytes += other.sent_bytes
            self.refused += other.refused
            self.whole.join(other.whole)
            self.application.join(other.application)


class Traffic:
    """Keeps the lines of nginx, and counts them when a page asks: many at once cost less.

    nginx_end: the descriptor that nginx inherits.
    """

    def __init__(self, loop: Loop) -> None:
        self._counts = Counts()
        self._begun = time.monotonic()
        # What is not counted yet, its size, and the start of a line at its end.
        self._blocks: list[bytes] = []
        self._size = 0
        self._rest = b""
        # The last minute, the oldest slot first, with the time of its start.
        self._slots: deque[tuple[float, Counts]] = deque(maxlen=SLOTS + 1)
        # This process keeps both ends, so the pipe has no end while nginx starts again.
        self._pipe, self.nginx_end = os.pipe()
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(OSError):  # the user has too many pipes
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        loop.watch_quietly(self._pipe, self.read)

    def read(self) -> None:
        """Take what nginx has written."""
        block = os.read(self._pipe, PIPE_SIZE)
        self._blocks.append(block)
        self._size += len(block)
        if self._size >= MAX_WAITING:
            self._count()

    @property
    def counts(self) -> Counts:
        """The counts since the start of the container; `Status` asks twice a second."""
        self._count()
        return self._counts

    def _count(self) -> None:
        if not self._blocks:
            return
        *lines, rest = b"".join([self._rest, *self._blocks]).split(b"\n")
        self._blocks, self._size = [], 0
        self._rest = rest[:MAX_LINE]
        fresh = self._slot()
        found = Counts()
        for line, number in Counter(lines).items():
            found.add(line.decode("ascii", "replace"), number)
        fresh.sum([found])
        self._counts.sum([found])

    def last_minute(self) -> tuple[Counts, float]:
        """The counts of the last minute, and how many seconds they are of."""
        self._count()
        now, total = time.monotonic(), Counts()
        slots = [(begun, counts) for begun, counts in self._slots if now - begun <= SLOT * SLOTS]
        total.sum(counts for _, counts in slots)
        return total, min(now - self._begun, SLOT * SLOTS)

    def _slot(self) -> Counts:
        now = time.monotonic()
        if not self._slots or now - self._slots[-1][0] >= SLOT:
            self._slots.append((now, Counts()))
        return self._slots[-1][1]
