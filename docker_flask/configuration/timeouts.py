"""The chain of time limits that follow from REQUEST_TIMEOUT, in one place.

A request that takes too long reaches these limits, in this order:

| seconds after start | process  | what happens                                                 |
|---------------------|----------|--------------------------------------------------------------|
| `request`           | nginx    | responds with 504                                            |
| `watchdog`          | worker   | accepts no more requests and ends; a new worker replaces it  |
| `release`           | nginx    | an old worker of a reload closes its connections; if it may  |
|                     |          | have WebSockets, WEBSOCKET_RELOAD_TIMEOUT later              |
| `release`           | uWSGI    | closes its connection to nginx                               |
| `release`           | Gunicorn | kills a worker that must end                                 |
| `release`           | PID 1    | stops an old generation that still has requests              |

`watchdog` comes after `request`: if a worker ended first, nginx would respond with 502 and retry a
GET. `release` comes last: nobody waits any more for the response to a request that it cuts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Seconds from the start of a request; whole numbers for programs that accept no others."""

    request: float

    @property
    def whole_request(self) -> int:
        return round(self.request)

    @property
    def watchdog(self) -> float:
        return self.request + 0.7

    @property
    def release(self) -> int:
        return round(self.request) + 5
