"""What may follow the image's name: help, refusals, commands; always in time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Engine
from tests.support.marks import at_night

pytestmark = pytest.mark.timed

TRIES = 3
IN_TIME = 0.5  # seconds in which process 1 ends
# Process 1 is the parent: signals reach the command.
FACTS = """cat >/dev/null && echo $(id -u) $(pwd) $PPID
python3 -c 'import sys; print(sys.prefix)'
exit 3"""

Outcome = tuple[int, str, str]


def in_time(engine: Engine, command: list[str], **options: Any) -> Iterator[Outcome]:
    """Exit code, stdout and stderr of each try to end in time; fails if none does.

    The first try in time is enough, because other programs can only slow a container down.
    """
    times = []
    for _ in range(TRIES):
        container = engine.run(command, **options)
        yield container.finish()
        times.append(container.lifetime())
        if times[-1] <= IN_TIME:
            return
    pytest.fail(f"{command} took {times} s")


@pytest.mark.parametrize(("command", "code"), [(["-h"], 0), (["-d", "prod"], 64)], ids=str)
def test_answered_in_time(engine: Engine, command: list[str], code: int) -> None:
    """The words of the messages are tested in unit/test_entry_point.py."""
    for found, out, err in in_time(engine, command):
        assert (found, bool(out), bool(err)) == (code, code == 0, code != 0)
        assert "-d debug" in out + err


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        (["printf", "[%s]", "two words", "$HOME", "*", "", "-d"], 0, "[two words][$HOME][*][][-d]"),
        (["bash", "-c", FACTS], 3, "0 /app 1\n/opt/venv\n"),
    ],
    ids=["words", "facts"],
)
def test_a_command_is_run_as_given(engine: Engine, command: list[str], code: int, out: str) -> None:
    assert engine.run(command).finish() == (code, out, "")


@pytest.mark.parametrize(
    ("limits", "workers", "source"),
    [
        ({"nano_cpus": 500_000_000}, "2", "cgroup quota of 0.5 CPUs"),
        ({"mem_limit": "48m"}, "1", "half of the cgroup limit of 48 MiB at 16 MiB a worker"),
        ({"cpuset_cpus": "0"}, "2", "affinity to 1 CPU"),
    ],
    ids=["cpus", "memory", "cpuset"],
)
def test_settings_follow_the_limits(
    engine: Engine, limits: dict[str, Any], workers: str, source: str
) -> None:
    _, out, _ = engine.run(["settings"], **limits).finish()
    row = next(line for line in out.splitlines() if line.startswith("UWSGI_CHEAPER"))
    assert row.split(maxsplit=2) == ["UWSGI_CHEAPER", workers, f"decided: {source}"]
    assert re.search(r"^THREADS +1(6)? +decided: ", out, re.MULTILINE)


def test_the_configuration_of_nginx(engine: Engine, tmp_path: Path) -> None:
    container = engine.serve(env={"MAX_UPLOAD": "7m"})
    code, text = container.execute("docker-flask", "nginx-config")
    assert (code, text) == (0, container.shell("cat /run/docker-flask/nginx.conf"))
    for command in (["nginx-config"], ["docker-flask", "nginx-config"]):
        planned = engine.run(command, env={"MAX_UPLOAD": "7m"}).finish()
        assert (planned[0], planned[2]) == (0, "")
        own = re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{12}-|\d+k;$|large_bodies \d+", re.MULTILINE)
        assert own.sub("", planned[1].replace("RANDOM", "")) == own.sub("", text)
        assert "\n    # Nor may one client take all these places." in planned[1]
    tmp_path.chmod(0o755)
    (tmp_path / "nginx.conf").write_text("events {}\nhttp {\n\tserver {}\n}\n")
    code, mine, problem = engine.run(["nginx-config"], app=tmp_path).finish()
    assert (code, problem) == (0, "")
    assert mine.endswith("\n        server {}\n}\n")


@pytest.mark.parametrize("command", [["settings"], []], ids=repr)
def test_a_bad_setting_is_refused_in_time(engine: Engine, command: list[str]) -> None:
    for code, out, err in in_time(engine, command, env={"THREADS": "many"}):
        assert (code, out) == (78, "")
        assert err.splitlines() == [
            "docker-flask: THREADS='many' is not allowed; use a whole number from 1 to 256"
        ]


@pytest.mark.parametrize("command", ["health", "reload"])
def test_what_can_not_be_done_here(engine: Engine, command: str) -> None:
    """Without a supervisor."""
    code, out, err = engine.run([command]).finish()
    assert (code, out) == (1, "")
    assert command in err or len(err.splitlines()) == 1, err


@pytest.mark.parametrize("init", [True, *at_night(False)], ids=["init", "process 1"])
def test_a_container_runs_in_one_mode(engine: Engine, init: bool) -> None:
    """By every name of the entry point: a second mode would delete the sockets of the first one."""
    container = engine.serve(init=init)
    for program in ("docker-flask", "/opt/docker-flask/entry-point.sh", "/entrypoint.sh"):
        for words in ([], ["-d", "debug"]):
            code, out = container.execute(program, *words)
            assert (code, out.count("\n")) == (64, 1), out
            assert "settings, nginx-config, status, reload, health, run" in out
        assert container.execute(program, "health") == (0, ""), program
        for words in (["id", "-u"], ["run", "id", "-u"]):
            assert container.execute(program, *words) == (0, "33\n"), program
        assert container.execute(program, "--version")[0] == 0
        assert container.execute(program, "-x")[0] == 64
    assert container.get().status_code == 200
    beside = engine.run(pid_mode=f"container:{container.docker.id}")
    beside.wait_until_serving()
    container.docker.kill()
    container.docker.start()
    container.wait_until_serving()


def test_a_mode_beside_a_command(engine: Engine) -> None:
    """As in an editor's container, which runs `sleep`."""
    container = engine.run(["sleep", "infinity"])
    container.docker.exec_run(["docker-flask"], detach=True)
    container.wait_until_serving()
    assert container.execute("docker-flask")[0] == 64
