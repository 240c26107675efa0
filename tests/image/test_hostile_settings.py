"""Hostile settings end the container with 78, in one line; see also tests/unit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.harness import Engine
from tests.support.servers import SERVERS

BAD_SETTING = 78
CASES = [
    ("UWSGI_INI", "/proc/self/mem"),
    ("UWSGI_INI", "a" * 300),
    ("STATIC_PATH", "a" * 4_000),
    ("STATIC_PATH", "/etc"),
    ("APP_MODULE", "app:f(__import__('os').system('id'))"),
    ("APP_MODULE", "a" * 100_000),
    ("FLASK_APP", "/dev/zero"),
    ("UWSGI_STATS", "0.0.0.0:9191"),
    ("UWSGI_ENV", "A=\x1b[31m"),
    ("TRUSTED_PROXIES", "1" * 100_000),
    ("LISTEN_PORT", "80;\nload_module x;"),
    ("TZ", "/dev/zero"),
    ("TZ", "/pipes/pipe"),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(*case, marks=[] if case[1] == "/pipes/pipe" else pytest.mark.nightly)
        for case in CASES
    ],
    ids=lambda text: text[:20].replace("\n", " "),
)
def test_refused(engine: Engine, tmp_path: Path, name: str, value: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    volumes = {str(tmp_path): {"bind": "/pipes", "mode": "ro"}}
    container = engine.run(env={name: value}, volumes=volumes, mem_limit="256m")
    code, out, err = container.finish()
    assert code == BAD_SETTING
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"docker-flask: {name}=")
    assert line.isprintable()
    assert len(line) < 1_500


@pytest.mark.nightly
def test_a_configuration_of_gunicorn_that_has_no_end(engine: Engine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in ("/dev/zero", "/pipes/pipe"):
        container = engine.run(
            server=SERVERS["gunicorn-sync"],
            env={"GUNICORN_CMD_ARGS": f"-c {file}"},
            volumes={str(tmp_path): {"bind": "/pipes", "mode": "ro"}},
            mem_limit="256m",
        )
        code, _, err = container.finish()
        assert code == BAD_SETTING
        assert f"'{file}' is not a file" in err.splitlines()[-1]
