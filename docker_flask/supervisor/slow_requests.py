"""The lines about requests that take longer than SLOW_REQUEST: one a minute for each place."""

import time

from docker_flask.shared.log import log
from docker_flask.shared.running_request import RunningRequest

# Seconds for which further requests at a place that the log has named are only counted.
INTERVAL = 60.0
# Places that are remembered.
MAX_PLACES = 200


class SlowRequests:
    """Collects what the workers of all generations report; call `look` every half second."""

    def __init__(self) -> None:
        # For each place: how many requests, and the slowest with its worker.
        self._found: dict[str, tuple[int, int, RunningRequest]] = {}
        self._logged: dict[str, float] = {}

    def note(self, worker: int, requests: list[RunningRequest]) -> None:
        """Note slow requests; worker: the pid that reports them."""
        for request in requests:
            is_named = request.place in self._found or len(self._found) < MAX_PLACES
            place = request.place if is_named else ""
            count, pid, slowest = self._found.get(place, (0, worker, request))
            if request.seconds > slowest.seconds:
                pid, slowest = worker, request
            self._found[place] = count + 1, pid, slowest

    def look(self, limit: float) -> None:
        """Log the places that are not named yet; limit: SLOW_REQUEST."""
        now = time.monotonic()
        self._logged = {place: at for place, at in self._logged.items() if now - at < INTERVAL}
        for place in [each for each in self._found if each not in self._logged]:
            count, worker, request = self._found.pop(place)
            self._logged[place] = now
            more = f" ({count - 1} more here)" if count > 1 else ""
            log(
                f"a request takes longer than SLOW_REQUEST={limit:g} seconds: {request}, "
                f"worker {worker}{more}"
            )
