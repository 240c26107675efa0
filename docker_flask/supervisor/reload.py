"""A reload: a new generation replaces the current one, which serves meanwhile."""

from collections.abc import Callable

from docker_flask.shared.log import log
from docker_flask.shared.paths import OK
from docker_flask.shared.setting_error import SettingError
from docker_flask.shared.task import Steps, Task, Until
from docker_flask.supervisor.generation import Generation
from docker_flask.supervisor.service import Phase, Service


class Reload:
    """One reload at a time; requests during a reload lead to one more reload after it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.task: Task | None = None  # the reload that runs
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
            self.task = Task(self._run())
        elif nginx.orphans and current and nginx.workers():  # until then, the orphans serve
            self.task = Task(nginx.reload(current.plan, None))
        elif self._service.certificates.look(nginx.certificate) and current:
            self.task = Task(self._swap_certificate(current))

    def cancel(self) -> None:
        """Give up the reload, and the generation that it loads."""
        if self.task:
            self.task.cancel()
        self._service.give_up_candidate()

    def _run(self) -> Steps[None]:
        answers, self._answers = self._answers, []
        before = self._service.current
        log("reload: loading a new generation, the current generation keeps serving")
        try:
            problem = yield from self._replace_current()
        except (SettingError, OSError) as error:  # OSError: a full disk, for example
            problem = str(error)
        except Exception as error:
            self._service.loop.report(error)
            problem = f"internal error: {error!r}"
        self._service.give_up_candidate()
        if problem:
            kept = "reload failed, keeping the previous generation"
            if self._service.current is not before:
                kept = "the new generation serves, but nginx keeps its previous configuration"
            problem = f"{kept}: {problem}"
            self._service.start_log.fails()
            log(problem)
        for answer in answers:
            answer(problem or OK)

    def _replace_current(self) -> Steps[str]:
        """Returns why the current generation stays; empty if the new generation serves."""
        service = self._service
        plan = yield from service.make_plan()
        workers = plan.workers
        if problem := service.memory.why_no_room(workers.count, workers.memory):
            return (
                f"the new generation does not fit beside the old one: {problem}; raise the limit "
                "(docker run -m), set a smaller WEB_CONCURRENCY or PRELOAD=1, or restart the "
                "container"
            )
        fresh = service.load(plan)
        seconds = plan.settings.start_timeout
        yield Until(lambda: fresh.settled(all_workers=True), seconds)
        if fresh.ready() and service.current and service.current.wide.server:
            # When the others have their memory.
            fresh.wide.start(fresh.plan.workers)
            yield Until(lambda: fresh.settled(all_workers=True), seconds)
        if not fresh.ready():
            return fresh.why_not_ready()
        service.certificates.refresh(service.nginx.certificate)
        plan = fresh.plan
        configuration = yield from service.configure_nginx(plan, fresh)
        service.switch_to(fresh)
        service.start_log.serves(fresh, configuration.notes)
        yield from service.nginx.reload(plan, configuration)
        return ""

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
