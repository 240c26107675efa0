"""Which reload comes next: of the application, or of nginx alone."""

import time
from collections.abc import Callable

from docker_flask.shared.paths import OK
from docker_flask.shared.setting_error import SettingError
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.reload import reload
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.task import Steps, Task


class Reloads:
    """Runs one reload at a time; requests during a reload lead to one more reload after it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.task: Task | None = None  # the reload that runs
        # The time and the problem of the last reload, and how many succeeded and failed.
        self.last: tuple[float, str] | None = None
        self.succeeded = self.failed = 0
        self._is_wanted = False
        self._answers: list[Callable[[str], None]] = []

    def request(self) -> None:
        """Reload as soon as possible."""
        self._is_wanted = True

    def request_and_answer(self, answer: Callable[[str], None]) -> None:
        """Reload as soon as possible, and respond with the outcome."""
        if self._service.phase is not Phase.SERVING:
            answer(f"can't reload while the container is {self._service.phase.value}")
            return
        self._answers.append(answer)
        self.request()

    def advance(self) -> None:
        """Continue the reload, or start the next one."""
        if self.task and self.task.advance():
            self.task = None
        if self.task:
            return
        nginx, current = self._service.nginx, self._service.current
        if self._is_wanted:
            self._is_wanted = False
            self.task = Task(self._reload_and_answer())
        elif nginx.orphans and current and nginx.workers():  # until then, the orphans serve
            self.task = Task(nginx.reload(current.plan, None))
        elif self._service.certificates.look(nginx.certificate) and current:
            self.task = Task(self._swap_certificate(current))

    def cancel(self) -> None:
        """Give up the reload, and the generation that it loads."""
        if self.task:
            self.task.cancel()

    def _reload_and_answer(self) -> Steps[None]:
        answers, self._answers = self._answers, []
        problem = yield from reload(self._service)
        self.last = time.time(), problem
        self.succeeded += not problem
        self.failed += bool(problem)
        for answer in answers:
            answer(problem or OK)

    def _swap_certificate(self, current: Generation) -> Steps[None]:
        """Let nginx take up another certificate.

        With a variable in ssl_certificate, nginx needs no reload, but reads the files in each
        handshake, which then costs 1.5 to 2 times the CPU time.
        """
        service = self._service
        try:
            configuration = yield from service.configure_nginx(current.plan, current)
            yield from service.nginx.reload(current.plan, configuration)
        except (SettingError, OSError) as error:
            service.certificates.failed(error)
