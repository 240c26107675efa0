"""nginx.conf: what becomes of the template."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from docker_flask import frontend
from docker_flask.limits import Limits
from docker_flask.settings import SettingError, load

TEMPLATE = Path(__file__).parents[2] / "nginx.conf"
RUNTIME = Path("/run/somewhere")
LIMITS = Limits(
    cpus=1.0,
    cpus_source="affinity to 1",
    memory=1 << 30,
    memory_source="machine's 1024 MiB",
    descriptors=65_536,
    backlog=4_096,
)
BOTH = ["0.0.0.0:80", "[::]:80"]


def render(
    limits: Limits = LIMITS, template: Path = TEMPLATE, starting: bool = False, **environ: str
) -> str:
    settings = load(environ, limits)
    return frontend.render(template, settings, limits, RUNTIME, BOTH, starting)


def directives(text: str) -> list[str]:
    """The lines that mean something to nginx, without indentation."""
    lines = (re.sub(r"\s*#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("environ", [{}, {"ACCESS_LOG": "0"}])
def test_nothing_of_the_template_is_left(starting: bool, environ: dict[str, str]) -> None:
    text = render(starting=starting, **environ)
    assert not re.search(r"{{|}}|{%|%}|{#|None|Undefined", text)
    assert text.count("{") == text.count("}")
    assert text.endswith("}\n")


def test_a_misspelt_name_in_the_template_is_an_error(tmp_path: Path) -> None:
    template = tmp_path / "nginx.conf"
    template.write_text("worker_processes {{ nginx_wokers }};")
    with pytest.raises(jinja2.UndefinedError, match="nginx_wokers"):
        render(template=template)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, "listen 0.0.0.0:80 backlog=4096;"),
        ({}, "listen [::]:80 backlog=4096;"),
        ({}, f"pid {RUNTIME}/nginx.pid;"),
        ({}, f"server unix:{RUNTIME}/app.sock max_fails=0;"),
        ({}, f"listen unix:{RUNTIME}/nginx.sock;"),
        ({}, "worker_processes 1;"),
        ({}, "worker_rlimit_nofile 65536;"),
        ({}, "client_max_body_size 0;"),
        ({"MAX_UPLOAD": "50M"}, "client_max_body_size 50m;"),
        ({"NGINX_MAX_UPLOAD": "1g"}, "client_max_body_size 1g;"),
        ({}, "uwsgi_read_timeout 60s;"),
        ({"REQUEST_TIMEOUT": "7"}, "uwsgi_read_timeout 7s;"),
        ({"REQUEST_TIMEOUT": "7"}, "uwsgi_send_timeout 7s;"),
        ({"REQUEST_TIMEOUT": "7"}, "worker_shutdown_timeout 12s;"),
        ({"REQUEST_TIMEOUT": "1.2"}, "uwsgi_read_timeout 1s;"),  # nginx: whole seconds
        ({}, "access_log /dev/stdout access buffer=4k flush=1s;"),
    ],
)
def test_appears(environ: dict[str, str], line: str) -> None:
    assert line in directives(render(**environ))


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        ({"cpus": 16.0}, ["worker_processes 4;"]),
        # Two connections a request, and some for clients that are idle.
        ({"backlog": 4_096}, ["worker_connections 12288;", "limit_conn requests 4096;"]),
        ({"backlog": 128}, ["worker_connections 4352;", "listen 0.0.0.0:80 backlog=128;"]),
        # Never more connections than descriptors, or nginx runs out of them.
        ({"descriptors": 1_024}, ["worker_connections 1000;", "limit_conn requests 375;"]),
    ],
)
def test_limits_appear(limits: dict[str, Any], lines: list[str]) -> None:
    found = directives(render(replace(LIMITS, **limits)))
    assert [line for line in lines if line not in found] == []


def test_access_log_can_be_off() -> None:
    lines = directives(render(ACCESS_LOG="0"))
    assert [line for line in lines if "/dev/stdout" in line or "log_format" in line] == []
    assert "access_log off;" in lines


def test_while_starting_everything_is_503_and_the_application_is_out_of_reach() -> None:
    lines = directives(render(starting=True))
    assert lines[lines.index("location / {") + 1] == "return 503;"
    assert [line for line in lines if "uwsgi_pass" in line or "app.sock" in line] == []


@pytest.mark.parametrize("starting", [True, False])
def test_nginx_own_503_says_when_to_come_back(starting: bool) -> None:
    lines = directives(render(starting=starting))
    assert "error_page 503 @later;" in lines
    at = lines.index("location @later {")
    assert lines[at + 1 : at + 3] == ["add_header Retry-After 2 always;", "return 503;"]


def test_while_serving_requests_go_to_the_application() -> None:
    lines = directives(render())
    at = lines.index("location / {")
    assert "uwsgi_pass application;" in lines[at : at + 7]
    assert "return 503;" not in lines[at:]


@pytest.mark.parametrize("value", ["1m; root /", "1m\nroot /;", "$host", "1m}", "{{ runtime }}"])
def test_no_nginx_syntax_gets_in(value: str) -> None:
    for name in ("MAX_UPLOAD", "REQUEST_TIMEOUT", "LISTEN_PORT", "ACCESS_LOG", "PORT"):
        with pytest.raises(SettingError):
            render(**{name: value})


def test_settings_that_nginx_does_not_need_stay_out() -> None:
    odd = "shop:make('marker; {{ 7 }}')"
    assert "marker" not in render(APP_MODULE=odd)


def test_command_and_environment() -> None:
    command = frontend.command(RUNTIME / "nginx.conf")
    assert command[0].startswith("/")
    assert str(RUNTIME / "nginx.conf") in command
    assert frontend.environment([3, 4]) == {"NGINX": "3;4;"}
    assert frontend.environment([]) == {"NGINX": ""}
