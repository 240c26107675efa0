"""The processes that died, and when each of them starts again."""

import os
import time
from collections import defaultdict
from collections.abc import Callable

from docker_flask.shared.log import log
from docker_flask.shared.loop import Interrupt

# The container stops if one process dies more often than this within these seconds.
MAX_DEATHS, DEATHS_WINDOW = 5, 60.0
# Seconds before the second restart within these seconds, doubled by each further one. The first
# restart is immediate. SPAWN_PAUSE: after a restart for which there were too few processes.
RESTART_PAUSE, SPAWN_PAUSE = 1.0, 5.0


class Failure(Interrupt):
    """The container can't continue: the application or a server can't run."""

    code = os.EX_SOFTWARE


class Restarts:
    """Starts again what died, after a pause that grows."""

    def __init__(self) -> None:
        self._deaths: dict[str, list[float]] = defaultdict(list)
        # When to start what died, and how.
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}

    def died(self, name: str, reason: str, restart: Callable[[], None]) -> None:
        """Start it again now or after a pause; raises Failure after too many deaths."""
        now = time.monotonic()
        recent = [moment for moment in self._deaths[name] if now - moment < DEATHS_WINDOW]
        self._deaths[name] = [*recent, now]
        if (count := len(self._deaths[name])) > MAX_DEATHS:
            raise Failure(f"{reason}, {count} times within a minute; stopping the container")
        pause = RESTART_PAUSE * 2 ** (count - 2) if count > 1 else 0.0
        log(f"{reason}; restarting {name}{f' after a pause of {pause:g} seconds' if pause else ''}")
        self._due[name] = now + pause, restart
        self.advance()

    def can_not_start(self, name: str, reason: str, restart: Callable[[], None]) -> None:
        """Try a restart again later: there are too few processes or there is too little memory."""
        log(f"{name} can't start: {reason}; trying again in {SPAWN_PAUSE:g} seconds")
        self._due[name] = time.monotonic() + SPAWN_PAUSE, restart

    def advance(self, at_once: bool = False) -> None:
        """Start what has had its pause; raises Failure. at_once: do not wait any longer."""
        for name, (moment, restart) in list(self._due.items()):
            if at_once or time.monotonic() >= moment:
                del self._due[name]
                restart()
