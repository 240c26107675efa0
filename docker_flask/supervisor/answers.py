"""What process 1 answers: commands on the control socket, probes on the status port."""

import json
import socket
from collections.abc import Callable

from docker_flask.shared.paths import OK
from docker_flask.shared.ports import answer_commands, answer_probes
from docker_flask.supervisor import metrics
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.service import Phase, Service
from docker_flask.supervisor.status import Status


def answer(
    service: Service, reloads: Reloads, status: Status, status_listeners: list[socket.socket]
) -> None:
    """Answer from now on, while the loop runs."""
    commands = {
        "health": lambda answer: answer(service.why_not_ready() or OK),
        "reload": reloads.request_and_answer,
        "environment": service.prestart.answer_changes,
        "status": status.ask,
        "settings": lambda answer: answer(json.dumps(service.rows())),
    }
    answer_commands(service.runtime, service.loop, commands)
    pages = {"/healthy": lambda: _why_not_healthy(service), "/ready": service.why_not_ready}

    def answer_metrics(answer: Callable[[str], None]) -> None:
        service.app_metrics.ask(lambda own: answer(metrics.page(service, status, reloads) + own))

    texts = {"/metrics": answer_metrics}
    answer_probes(status_listeners, service.loop, pages, texts)


def _why_not_healthy(service: Service) -> str:
    """Which process the container lacks; empty also while it starts or stops in order."""
    return service.problem() if service.phase is Phase.SERVING else ""
