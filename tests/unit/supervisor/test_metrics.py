"""The page /metrics: its form, and that it bounds what comes from others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from docker_flask.plan.limits import MemoryWatch
from docker_flask.supervisor import metrics
from docker_flask.supervisor.reloads import Reloads
from docker_flask.supervisor.status import Status
from docker_flask.supervisor.traffic import Counts
from docker_flask.supervisor.worker_counts import WorkerCounts
from tests.support import plans

FILES = Path(__file__).parents[3] / "deploy/prometheus"
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


def series(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Names and labels of a page, or of what an expression selects."""
    for name, labels in re.findall(r"(docker_flask_\w+)(?:\{([^}]*)\})?", text):
        yield name, dict(re.findall(r'(\w+)=~?"([^"]*)"', labels))


def expressions() -> Iterator[str]:
    """Those of the alerts and of the dashboard."""
    for group in yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    board = json.loads((FILES / "grafana/dashboard.json").read_text())
    assert len(board["panels"]) == 8
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (v["query"] for v in board["templating"]["list"] if v["type"] == "query")


def test_alerts_and_the_dashboard_read_series_that_exist(tmp_path: Path) -> None:
    present = list(series(page(tmp_path, Counts())))
    for expression in expressions():
        selected = [(name, labels) for name, labels in series(expression)]
        assert selected or 'up{job="flaskapp"}' in expression
        for name, labels in selected:
            labels.pop("instance", None)  # Prometheus' own
            assert any(
                name == other and all(re.fullmatch(v, found.get(k, "")) for k, v in labels.items())
                for other, found in present
            ), f"no series {name}{labels} for {expression}"
        # What results are grouped by.
        grouped = set(
            re.findall(r"\w+", " ".join(re.findall(r"(?:by|group_left) \(([^)]*)\)", expression)))
        )
        known = {label for name, found in present if name in dict(selected) for label in found}
        assert grouped - {"instance"} <= known, expression
