"""The application's own metrics in /metrics, merged by a short-lived process of its user."""

import time
from collections.abc import Callable
from pathlib import Path

from docker_flask.shared.log import log
from docker_flask.shared.paths import METRICS, PYTHON
from docker_flask.supervisor.programs import Programs
from docker_flask.supervisor.task import Steps, Task

# Of the names of process 1's own metrics.
PREFIX = "docker_flask_"
COMMAND = (PYTHON, "-P", "-m", "docker_flask.worker.server.app_metrics_page")
# Seconds for a page, and for which a page is new.
TIMEOUT, NEW = 5.0, 1.0
# Who waits for a new page; others get the last one.
MAX_WAITING = 64


class AppMetrics:
    """Answers with the page of the workers' files; answers: who waits, they get one page."""

    def __init__(self, runtime: Path, programs: Programs) -> None:
        self._folder, self._programs = runtime / METRICS, programs
        self.answers: list[Callable[[str], None]] = []
        self._task: Task | None = None
        self._page, self._made, self._problem = "", 0.0, ""

    def ask(self, answer: Callable[[str], None]) -> None:
        """Answer with the page, empty if the application has no metrics."""
        is_new = time.monotonic() - self._made < NEW or len(self.answers) >= MAX_WAITING
        if is_new or not any(self._folder.glob("*.db")):
            answer(self._page)
            return
        self.answers.append(answer)
        if not self._task:
            self._task = Task(self._make())

    def advance(self) -> None:
        """Continue, and answer who waits."""
        if self._task and self._task.advance():
            self._task = None
        if not self._task:
            answers, self.answers = self.answers, []
            for answer in answers:
                answer(self._page)

    def _make(self) -> Steps[None]:
        page = problem = ""
        try:
            output = yield from self._programs.run([*COMMAND, str(self._folder)], {}, TIMEOUT)
            page, problem = output.out, output.errors.strip()
        except TimeoutError:
            problem = f"they were not merged within {TIMEOUT:g} seconds"
        except OSError as error:
            problem = str(error.strerror)
        if problem and problem != self._problem:
            log(f"metrics of the application are missing in /metrics: {problem.splitlines()[-1]}")
        self._problem, self._made = problem, time.monotonic()
        # Metrics of the container are those of process 1 only.
        rows = (row for row in page.splitlines(keepends=True) if PREFIX not in row.split("{")[0])
        self._page = "".join(rows)
