"""The lines of docker-flask about a start: few, and after a reload only those that have changed."""

import os

from docker_flask.plan.settings import Settings
from docker_flask.shared import instance_folder, paths
from docker_flask.shared.log import log
from docker_flask.supervisor.generation import Generation


class StartLog:
    """notes: what is unusual about the generation that loads."""

    def __init__(self, ports: list[int]) -> None:
        self.notes: list[str] = []
        self._ports = ports
        # What the log says about the generation that serves.
        self._said: list[str] = []
        if os.geteuid() == 0:
            self.notes.append("the application runs as root, because RUN_AS_ROOT=1")
        if paths.others_may_replace(paths.VOLUME):
            self.notes.append(
                f"{paths.VOLUME} is not used for HOME and Flask's instance folder, because every "
                f"user can replace a folder there: chmod +t {paths.VOLUME}"
            )
        elif instance_folder.is_foreign(os.geteuid()):
            self.notes.append(
                f"{paths.INSTANCE} is not used, because others can write to it: it must be a "
                f"folder of uid {os.geteuid()} that only this user can write to"
            )

    def serves(self, generation: Generation, nginx_notes: list[str]) -> None:
        """Log what serves now."""
        self.notes += [*nginx_notes, *generation.report.notes]
        plan, report = generation.plan, generation.report
        lines = [report.found, plan.workers.describe(), report.static_files, *self.notes]
        for line in lines:
            if line and line not in self._said:
                log(line)
        self._said, self.notes = lines, []
        once = "; loaded once (PRELOAD=1)" if plan.settings.preload else ""
        log(f"serving {report.application} on {self._where(plan.settings)}{once}")

    def _where(self, settings: Settings) -> str:
        """The ports, and the options that publish them."""
        published = f"-p 8091:{self._ports[0]}"
        if settings.has_tls and settings.tls_port in self._ports:
            # Port 80 redirects to the port of HTTPS that clients see.
            seen = 443 if isinstance(settings.tls_redirect, bool) else settings.tls_redirect
            published = f"-p 80:{self._ports[0]} -p {seen}:{settings.tls_port}"
        return f"port {', '.join(map(str, self._ports))} (docker run {published})"

    def fails(self) -> None:
        """Log what may explain why a generation does not serve."""
        for note in self.notes:
            log(note)
        self.notes = []
