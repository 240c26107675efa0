"""The chain of time limits that follow from REQUEST_TIMEOUT, in one place.

A request that takes too long is met by these limits, in this order:

| seconds after start | who      | what happens                                                 |
|---------------------|----------|--------------------------------------------------------------|
| `request`           | nginx    | answers 504                                                  |
| `watchdog`          | worker   | takes no more requests and ends; another takes its place     |
| `release`           | nginx    | an old worker of a reload closes its connections             |
| `release`           | uWSGI    | gives up reading from or writing to nginx                    |
| `release`           | Gunicorn | ends a worker that has to go                                 |
| `release`           | PID 1    | stops an old generation that still has requests              |

`watchdog` comes after `request`: a worker that ended first would make nginx answer 502, and try a
GET again. `release` comes last: what it cuts can only be a request that nobody waits for.
"""

from __future__ import annotations

from dataclasses import dataclass

from docker_flask.configuration.settings import Settings

# Seconds after `request`.
WATCHDOG_MARGIN, RELEASE_MARGIN = 0.7, 5.0


@dataclass(frozen=True)
class Timeouts:
    """Seconds from the start of a request; the whole ones are for programs that take no others."""

    request: float
    watchdog: float
    release: float

    @property
    def whole_request(self) -> int:
        return max(1, round(self.request))

    @property
    def whole_release(self) -> int:
        return max(1, round(self.release))


def compute(settings: Settings) -> Timeouts:
    """The time limits for these settings."""
    request = settings.request_timeout
    return Timeouts(request, request + WATCHDOG_MARGIN, request + RELEASE_MARGIN)
