"""deploy/prometheus/: Prometheus' own checks, of its files and of the page /metrics."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support.harness import ROOT, Engine
from tests.support.kustomize import PATH

FOLDER = ROOT / "deploy/prometheus"

pytestmark = pytest.mark.nightly


def promtool(*arguments: str, text: str = "") -> str:
    """What it prints; it must end with 0."""
    program = shutil.which("promtool", path=PATH)
    if not program:
        pytest.skip("promtool is missing: tools/install promtool")
    result = subprocess.run(
        [program, *arguments],
        cwd=FOLDER,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("check config prometheus.yml", "is valid prometheus config file syntax"),
        ("check rules alerts.yml", "6 rules found"),
        ("test rules alerts_test.yml", "SUCCESS"),
    ],
)
def test_the_files_are_valid_and_alerts_say_what_is_wrong(check: str, words: str) -> None:
    assert words in promtool(*check.split())


def test_nothing_is_wrong_with_the_page(engine: Engine) -> None:
    container = engine.serve()
    code = "from urllib.request import urlopen; print(urlopen({!r}).read().decode(), end='')"
    page = container.shell(f'python3 -c "{code.format("http://127.0.0.1:9180/metrics")}"')
    assert "docker_flask_ready 1\n" in page
    assert promtool("check", "metrics", text=page) == ""
