"""The page /metrics: its form, and that it bounds what comes from others."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docker_flask.plan.limits import MemoryWatch
from docker_flask.supervisor import metrics
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.status import Status
from docker_flask.supervisor.traffic import Counts
from docker_flask.supervisor.worker_counts import WorkerCounts
from tests.support import plans

ROW = re.compile(r'docker_flask_\w+(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? -?[\d.]+(e[+-]\d+)?')


def page(folder: Path, counts: Counts) -> str:
    """The page of a container that starts."""
    service: Any = SimpleNamespace(
        runtime=folder,
        traffic=SimpleNamespace(counts=counts),
        current=None,
        generations=list,
        memory=MemoryWatch(plans.LIMITS),
        worker_counts=WorkerCounts(),
        certificates=SimpleNamespace(current=None),
        nginx=SimpleNamespace(pid=0, workers=set),
        why_not_ready=lambda: "the container is starting",
    )
    reloads = Reloads(service)
    return metrics.page(service, Status(service, reloads), reloads)


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the file of the image."""
    monkeypatch.setattr(metrics, "version", lambda: "1.2.3")


def test_every_line_has_the_form(tmp_path: Path) -> None:
    counts = Counts()
    counts.add("200|GET|100|0.004|200|0.003", 3)
    counts.add("418|BREW|7|99.000|502, 418|0.500, 0.250", 1)
    text = page(tmp_path, counts)
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith(("# HELP docker_flask_", "# TYPE docker_flask_")) or ROW.fullmatch(
            line
        )
    assert 'docker_flask_http_requests_total{method="GET",status="200"} 3' in text
    assert 'docker_flask_http_requests_total{method="other",status="418"} 1' in text
    assert 'docker_flask_http_requests_total{method="POST",status="503"} 0' in text
    assert 'docker_flask_http_request_duration_seconds_bucket{le="0.0025"} 0' in text
    assert 'docker_flask_http_request_duration_seconds_bucket{le="0.005"} 3' in text
    assert 'docker_flask_http_request_duration_seconds_bucket{le="+Inf"} 4' in text
    assert "docker_flask_http_request_duration_seconds_sum 99.012" in text
    assert "docker_flask_http_application_duration_seconds_count 4" in text
    assert "docker_flask_ready 0" in text


def test_all_series_are_there_from_the_start(tmp_path: Path) -> None:
    def names(text: str) -> set[str]:
        return {line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"}

    counts = Counts()
    for status in ("200", "404", "500", "503"):
        counts.add(f"{status}|GET|1|0.001|{status}|0.001", 1)
    assert names(page(tmp_path, counts)) == names(page(tmp_path, Counts()))
