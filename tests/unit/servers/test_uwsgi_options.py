"""The user's options for uWSGI: which decide a setting, are the image's own, or are passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_flask.servers.uwsgi import options as uwsgi_options
from docker_flask.shared.origin import FileValue, ServerOptions
from docker_flask.shared.setting_error import SettingError

HELP = "\n".join(
    f"    --{name} meaning"
    for name in (
        "callable",
        "cron",
        "endif",
        "env",
        "harakiri",
        "http-socket",
        "if-env",
        "include",
        "py-autoreload",
        "touch-reload",
        "legion",
        "listen",
        "mule",
        "processes",
        "snmp",
        "socket",
        "stats",
        "stats-server",
        "udp",
        "wsgi-file",
        "zerg-server",
    )
)


@pytest.fixture
def uwsgi(tmp_path: Path) -> Path:
    """What stands for the program."""
    program = tmp_path / "uwsgi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{HELP}\nEND\n")
    program.chmod(0o755)
    return program


def sort(uwsgi: Path, lines: str, **environ: str) -> ServerOptions:
    (uwsgi.parent / "uwsgi.ini").write_text(f"[uwsgi]\n{lines}\n")
    return uwsgi_options.read(uwsgi.parent, environ, str(uwsgi))


def test_variables_come_behind_the_file(uwsgi: Path) -> None:
    """Not those that are no options, as Kubernetes sets them, nor those that are settings."""
    options = sort(
        uwsgi,
        "processes = 4\nstats = /1",
        UWSGI_PROCESSES="5",
        UWSGI_HARAKIRI="9",
        UWSGI_STATS="/2",
        UWSGI_LISTEN="9",
        UWSGI_CALLABLE="app",
        UWSGI_TOUCH_RELOAD="/app/touch",
        UWSGI_PY_AUTORELOAD="1",
        UWSGI_PORT="tcp://10.0.0.1:80",
        UWSGI_HTTP_PORT="tcp://10.0.0.1:80",
        UWSGI_ENV="",
    )
    assert options.settings["request_timeout"] == FileValue("UWSGI_HARAKIRI", "9", "")
    assert options.settings["web_concurrency"].text == "4"
    assert options.text == "[uwsgi]\nstats = /1\nstats = /2\n"
    assert options.ignored == [
        "UWSGI_LISTEN",
        "UWSGI_CALLABLE",
        "UWSGI_TOUCH_RELOAD",
        "UWSGI_PY_AUTORELOAD",
    ]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("proceses = 2", r"'proceses' in .*uwsgi.ini is not allowed: uWSGI has no such option"),
        ("if-env = A\nprocesses = 2\nendif =", r"'if-env' in .* is not supported"),
        ("include = more.ini", r"'include' in .* is not supported"),
    ],
)
def test_refused(uwsgi: Path, lines: str, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        sort(uwsgi, lines)


@pytest.mark.parametrize(
    ("lines", "environ", "reason"),
    [
        ("cron = 0 0 -1 -1 -1 true", {}, "one server because of cron in {}/uwsgi.ini"),
        ("", {"UWSGI_MULE": "job.py"}, "one server because of UWSGI_MULE"),
        ("env = A=1", {}, ""),
    ],
)
def test_what_a_second_server_would_start_twice(
    uwsgi: Path, lines: str, environ: dict[str, str], reason: str
) -> None:
    found = sort(uwsgi, lines, **environ).only_one_server
    assert found == reason.format(uwsgi.parent)


# --- attacks ---------------------------------------------------------------------------------

ADDRESSES = (":9191", "127.0.0.1:9191", "[::]:9191", "*:1", "name 10.0.0.1:80 98")


@pytest.mark.parametrize("name", ["stats", "stats-server", "udp", "snmp", "legion", "zerg-server"])
def test_only_nginx_listens(uwsgi: Path, name: str) -> None:
    for address in ADDRESSES:
        with pytest.raises(SettingError, match="only nginx listens on the network"):
            sort(uwsgi, f"{name} = {address}")
        with pytest.raises(SettingError, match="only nginx listens on the network"):
            sort(uwsgi, "", **{f"UWSGI_{name.upper().replace('-', '_')}": address})
    for path in ("/tmp/stats.sock", "@stats", "stats.sock", "unix:/tmp/stats"):
        assert sort(uwsgi, f"{name} = {path}").text == f"[uwsgi]\n{name} = {path}\n"


def test_no_option_through_a_variable(uwsgi: Path) -> None:
    options = sort(uwsgi, "env = A=$(B)", B="a\nsocket = :80", UWSGI_ENV="A=b\r\nhttp = :80\x1b")
    assert options.text == "[uwsgi]\nenv = A=a socket = :80\nenv = A=b  http = :80 \n"
