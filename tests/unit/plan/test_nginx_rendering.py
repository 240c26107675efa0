"""nginx's configuration: what nginx.conf and its parts become for settings and limits."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docker_flask.plan import rendering
from docker_flask.plan.limits import Limits
from docker_flask.plan.nginx_files import NginxFiles
from docker_flask.plan.rendering import Listen
from docker_flask.shared.static_files import StaticFiles
from tests.support import plans

TEMPLATES = Path(__file__).parents[3]
RUNTIME = Path("/run/somewhere")
DISK = 1 << 30
LIMITS = replace(plans.LIMITS, cpus=1.0, memory=1 << 30)
STATIC = StaticFiles("/static", "/app/static")
BOTH = Listen(["0.0.0.0:80", "[::]:80"])
NO_FILES = NginxFiles()


def render(
    limits: Limits = LIMITS,
    nginx_files: NginxFiles = NO_FILES,
    disk: int = DISK,
    static: StaticFiles | None = STATIC,
    sendfile_location: str = "",
    **more: Any,
) -> str:
    """The configuration with these settings (upper case) and parameters of it (lower case)."""
    environ = {name: value for name, value in more.items() if name.isupper()}
    others = {name: value for name, value in more.items() if name.islower()}
    plan = replace(plans.make(limits, **environ), nginx_files=nginx_files)
    return rendering.render(plan, RUNTIME, BOTH, disk, sendfile_location, static, **others)


def directives(text: str) -> list[str]:
    """The lines that mean something to nginx, without indentation."""
    lines = (re.sub(r"\s*#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("log", ["1", "json"])
def test_snippets_come_before_every_map(log: str) -> None:
    """After a map, nginx calls a `map_hash_bucket_size` of the user's a duplicate."""
    before = render(ACCESS_LOG=log).partition("include /etc/nginx/conf.d/")[0]
    assert not re.search(r"^\s*map ", before, re.MULTILINE)


@pytest.mark.parametrize(("static", "starting"), [(None, False), (STATIC, False), (STATIC, True)])
@pytest.mark.parametrize("environ", [{}, {"ACCESS_LOG": "json", "STATIC_INDEX": "1"}])
def test_nothing_of_the_template_is_left(
    starting: bool, static: StaticFiles | None, environ: dict[str, Any]
) -> None:
    text = render(static=static, starting=starting, RESPONSE_CACHE="1m", **environ)
    assert not re.search(r"{{|}}|{%|%}|{#|None|Undefined", text)
    assert text.count("{") == text.count("}")
    assert text.endswith("}\n")


def test_no_part_is_forgotten() -> None:
    folder = TEMPLATES / "docker_flask/nginx"
    including = [TEMPLATES / "nginx.conf", *folder.glob("*.conf")]
    found = re.findall(r'{% include "(\w+\.conf)" %}', "".join(map(Path.read_text, including)))
    assert set(found) == {file.name for file in folder.glob("*.conf")} - {"uwsgi_params.conf"}


def test_lines_are_indented_as_their_blocks() -> None:
    lines = render(sendfile_location="/secret").splitlines()
    for line in (
        "daemon off;",
        "    # A response that fits into one packet does not arrive earlier if it is smaller.",
        "    gzip_min_length 1k;",
        "        application/javascript application/json application/ld+json"
        " application/manifest+json",
        "        merge_slashes off;",
        "            location ^~ /secret/as-is/ {",
        "                gzip off;",
        "}",
    ):
        assert line in lines


def test_no_regular_expression_captures() -> None:
    """nginx had a vulnerability with captures and a cache that updates in the background."""
    texts = [
        render(sendfile_location="/secret", RESPONSE_CACHE="1m", STATIC_INDEX="1", ACCESS_LOG=log)
        for log in ("1", "json")
    ]
    patterns = [word for text in texts for word in re.findall(r'"(~[^"]*)"', text)]
    assert len(patterns) > 8
    assert [pattern for pattern in patterns if re.search(r"\((?!\?:)", pattern)] == []


@pytest.mark.parametrize(
    ("environ", "disk", "nginx_files"),
    [
        ({}, DISK, NO_FILES),
        ({"RESPONSE_CACHE": "off"}, DISK, NO_FILES),
        ({"RESPONSE_CACHE": "100m"}, 3 << 20, NO_FILES),
        ({"RESPONSE_CACHE": "100m"}, DISK, NginxFiles(has_own_cache=True)),
        ({"RESPONSE_CACHE": "100m"}, DISK, NginxFiles(passes_requests=True)),
    ],
    ids=["unset", "off", "no room", "own cache", "own server"],
)
def test_without_a_cache(environ: dict[str, Any], disk: int, nginx_files: NginxFiles) -> None:
    for name in (rendering.MAIN, rendering.PARAMETERS):
        text = render(disk=disk, nginx_files=nginx_files, name=name, **environ)
        assert not re.search(r"uwsgi_(no_)?cache|X-Cache|realpath|\$pages|\$sent_", text)


@pytest.mark.parametrize(
    ("size", "disk", "kilobytes", "page"),
    [
        ("1m", DISK, 1024, 99_999),
        ("100m", DISK, 102_400, 9_999_999),
        ("100m", 32 << 20, 8192, 999_999),  # a quarter of the free disk
    ],
)
def test_the_size_of_the_cache(size: str, disk: int, kilobytes: int, page: int) -> None:
    text = render(disk=disk, RESPONSE_CACHE=size)
    assert f"max_size={kilobytes}k min_free={kilobytes}k;" in text
    (kept,) = re.findall(r'"~(\^GET [^"]*)" "";', text)
    assert re.match(kept, f"GET 200 {page} Cookie")
    assert not re.match(kept, f"GET 200 {page + 1} Cookie")


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"MAX_UPLOAD": "0"}, "client_max_body_size 0;"),
        ({"REQUEST_TIMEOUT": "7"}, "uwsgi_read_timeout 7s;"),
        ({"REQUEST_TIMEOUT": "7"}, "uwsgi_send_timeout 7s;"),
        ({"REQUEST_TIMEOUT": "7"}, "worker_shutdown_timeout 72s;"),
        ({"WEBSOCKETS": "7"}, "limit_conn websockets 7;"),
        ({"REQUEST_TIMEOUT": "1.2"}, "uwsgi_read_timeout 1s;"),  # nginx: whole seconds
        ({}, "access_log /dev/stdout access buffer=4k flush=1s;"),
    ],
)
def test_directive(environ: dict[str, Any], line: str) -> None:
    assert line in directives(render(**environ))


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        ({"cpus": 16.0}, ["worker_processes 4;"]),
        # Two connections a request, and some for clients that are idle.
        ({"backlog": 4_096}, ["worker_connections 21708;", "limit_conn requests 5762;"]),
        ({"cpus": 0.25}, ["limit_conn requests 5762;"]),
        ({"cpus": 8.0}, ["limit_conn requests 6664;"]),
        ({"backlog": 128}, ["worker_connections 13772;", "listen 0.0.0.0:80 backlog=128;"]),
        # Never more connections than descriptors, or nginx runs out of them.
        ({"descriptors": 1_024}, ["worker_connections 872;", "limit_conn requests 425;"]),
        ({"descriptors": 1_024}, ["limit_conn websockets 54;"]),
        ({"memory": 512 << 20}, ["limit_conn websockets 819;"]),
        ({"processes": 800}, ["limit_conn websockets 100;"]),
    ],
)
def test_directives_from_limits(limits: dict[str, Any], lines: list[str]) -> None:
    found = directives(render(replace(LIMITS, **limits)))
    assert [line for line in lines if line not in found] == []


@pytest.mark.parametrize("starting", [True, False])
def test_error_pages(starting: bool) -> None:
    text = render(starting=starting, MAX_UPLOAD="50m")
    lines = directives(text)
    at = lines.index("map $status $error_retry {")
    assert "503 2;" in lines[at : lines.index("}", at)]
    assert lines.count("add_header Retry-After $error_retry always;") == 1
    statuses = re.findall(r"error_page ([\d ]+) /\.docker-flask/error\.html;", text)[0].split()
    for status in (*statuses, "400headers", "503busy"):
        assert len(re.findall(rf'^ *{status} "[^"]+";$', text, re.MULTILINE)) == 2
    assert "50m (setting MAX_UPLOAD)" in text
    refresh = '<meta http-equiv="refresh" content="$error_retry">'
    for words in (refresh, '"The application is starting."', "This page loads itself again."):
        assert (words in text) is starting


def test_no_location_that_a_request_is_sent_to_sends_it_on() -> None:
    """But for a file that is missing while the container drains, which only `try_files` finds."""
    text = render(STATIC_INDEX="1", SCRIPT_NAME="/shop", HEALTH_PATH="/healthz")
    named = dict(re.findall(r"^( +location @\w+) \{\n(.*?)^ {8}\}", text, re.MULTILINE | re.DOTALL))
    assert len(named) > 5
    senders = [name.split("@")[1] for name, lines in named.items() if re.search("418| @", lines)]
    assert senders == ["draining_static"]
