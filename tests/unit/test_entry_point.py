"""entry-point.sh: what its arguments mean, as far as that needs no engine."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

ENTRY_POINT = Path(__file__).parents[2] / "entry-point.sh"


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
    for word in (
        "-d debug",
        "-h",
        "--version",
        "production",
        "development",
        "settings",
        "reload",
        "health",
    ):
        assert word in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-x"], '"-x"'),
        (["-x", "debug"], '"-x"'),
        (["--debug"], '"--debug"'),
        (["-debug"], '"-debug"'),
        (["-ddebug"], '"-ddebug"'),
        (["-"], '"-"'),
        (["--"], '"--"'),
        (["-H"], '"-H"'),
        (["-d"], "without a value"),
        (["-d", ""], "without a value"),
        (["-d", "prod"], "prod"),
        (["-d", "DEBUG"], "DEBUG"),
        (["-d", "debug "], "debug "),
        (["-d", "-h"], "-h"),
        (["-d", "debug", "now"], '"now"'),
        (["-d", "debug", "-h"], '"-h"'),
        (["-d", "two\nlines"], "two"),
        (["-two\nlines"], "two"),
    ],
    ids=ascii,
)
def test_refused(arguments: list[str], named: str) -> None:
    begun = time.monotonic()
    result = run(*arguments)
    took = time.monotonic() - begun
    assert result.returncode == 64
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("docker-flask: ")
    assert named in lines[0]
    assert "-d debug" in lines[0], "what is allowed"
    assert took < 0.5


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        (["echo", "two  words", "$HOME", "*"], 0, "two  words $HOME *\n"),
        (["bash", "-c", "exit 3"], 3, ""),
        (["bash", "-c", "kill -KILL $$"], -9, ""),  # it takes the shell's place
        (["printf", "[%s]", "", "a b", "-d"], 0, "[][a b][-d]"),
    ],
)
def test_a_command_is_run_as_given(command: list[str], code: int, output: str) -> None:
    result = run(*command)
    assert (result.returncode, result.stdout, result.stderr) == (code, output, "")


def test_an_unknown_command() -> None:
    result = run("no-such-command")
    assert result.returncode == 127
    assert "no-such-command" in result.stderr


@pytest.mark.parametrize("value", ["0", "off", ""])
def test_a_command_installs_nothing(value: str) -> None:
    assert run("true", INSTALL_ON_START=value).stderr == ""
    assert run("true", INSTALL_ON_START="1").stderr == ""


def test_a_time_zone_that_programs_would_wait_for(tmp_path: Path) -> None:
    pipe = tmp_path / "zone\n1"
    os.mkfifo(pipe)
    for zone in ("/dev/zero", ":/dev/zero", str(pipe), f":{pipe}", f"../../..{pipe}"):
        result = run("-h", TZ=zone)
        assert (result.returncode, result.stdout) == (78, "")
        assert len(result.stderr.splitlines()) == 1
        assert "use a name such as Europe/Berlin" in result.stderr
    for zone in ("", "Europe/Berlin", "Mars/Olympus", "CET-1CEST", "/etc/passwd"):
        assert run("-h", TZ=zone).returncode == 0
