"""entry-point.sh: what its arguments mean, as far as that needs no engine."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

ENTRY_POINT = Path(__file__).parents[3] / "entry-point.sh"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ENTRY_POINT), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environ},
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    result = run(option)
    assert result.returncode == 0
    assert result.stderr == ""
    for word in ("-d debug", "-h", "--version", "settings", "nginx-config", "reload", "health"):
        assert word in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-x", "debug"], '"-x"'),
        (["-ddebug"], '"-ddebug"'),
        (["--debug", "debug"], '"--debug"'),
        (["-d"], "without a value"),
        (["-d", ""], "without a value"),
        (["-d", "DEBUG"], "DEBUG"),
        (["-d", "debug", "now"], '"now"'),
        (["-d", "debug", "-h"], '"-h"'),
        (["-d", "two\nlines"], "two"),
    ],
    ids=ascii,
)
def test_refused(arguments: list[str], named: str) -> None:
    begun = time.monotonic()
    result = run(*arguments)
    assert time.monotonic() - begun < 0.5
    assert result.returncode == 64
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("docker-flask: ")
    assert named in lines[0]
    assert "-d debug" in lines[0], "what is allowed"


@pytest.mark.parametrize(
    ("command", "serves"),
    [
        (["python", "app.py"], True),
        (["/bin/sh", "-c", "exec gunicorn -b :5000 app:app"], True),
        (["python3", "-m", "flask", "--app", "app", "run", "--host=0.0.0.0"], True),
        (["python", "manage.py", "runserver", "0.0.0.0:5000"], True),
        (["python", "manage.py", "migrate"], False),
        (["python", "app.pyc"], False),
        (["flask", "--app", "app", "routes"], False),
        ([], False),
    ],
    ids=repr,
)
def test_a_command_that_serves_is_told_what_the_image_does(
    command: list[str], serves: bool
) -> None:
    script = f"source <(sed '$d' {ENTRY_POINT}) && name_own_server \"$@\""
    result = subprocess.run(
        ["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=True
    )
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    said = f'docker-flask: running "{" ".join(command)}" without nginx and uWSGI; to let the image '
    said += "serve the application, remove CMD from the Dockerfile"
    assert lines == [said] * serves
