"""The lines of docker-flask about a start: few, and after a reload only those that have changed."""

import os

from docker_flask.log import log
from docker_flask.supervisor.generation import Generation


class StartLog:
    """notes: what is unusual about the generation that loads."""

    def __init__(self, ports: list[int]) -> None:
        self.notes: list[str] = []
        self._where = f"port {', '.join(map(str, ports))} (docker run -p 8091:{ports[0]})"
        # What the log says about the generation that serves.
        self._said: list[str] = []
        if os.geteuid() == 0:
            self.notes.append("the application runs as root, because RUN_AS_ROOT=1")

    def serves(self, generation: Generation, nginx_notes: list[str]) -> None:
        """Log what serves now."""
        self.notes += [*nginx_notes, *generation.notes]
        plan = generation.plan
        lines = [generation.found, plan.workers.describe(), generation.static_files, *self.notes]
        for line in lines:
            if line and line not in self._said:
                log(line)
        self._said, self.notes = lines, []
        once = "; loaded once (PRELOAD=1)" if plan.settings.preload else ""
        log(f"serving {generation.loaded} on {self._where}{once}")

    def fails(self) -> None:
        """Log what may explain why a generation does not serve."""
        for note in self.notes:
            log(note)
        self.notes = []
