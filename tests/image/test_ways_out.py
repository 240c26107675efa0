"""No spelling of a path leads out of the folders whose files nginx and the application send."""

from __future__ import annotations

import http.client
from itertools import islice, product
from pathlib import Path

import pytest

from tests.support.harness import HELLO, Container, Engine

OUTSIDE = "SECRET-OUTSIDE"
APP = f"""{HELLO}
from flask import send_from_directory  # {OUTSIDE}

@app.get("/files/<path:name>")
def files(name):
    return send_from_directory("files", name)
"""
# How a path begins, what is meant to lead up, how often, and to what.
BEGINS = ("/static", "/static/", "/static/below/", "/files/", "/files/below", "//static/", "/")
STEPS = (
    *("out/", "below/out/", "out/static/below/../../"),
    *("../", "..%2f", "%2e%2e/", "%2e%2e%2f", ".%2e/", "%2e./", "..%5c", "..\\", "....//", "..;/"),
    *("%252e%252e%252f", "%c0%ae%c0%ae/", "%uff0e%uff0e/", "..%00/", "./../", "/../", "..//"),
    *("%2e%2e%5c", "..%255c", "..%c1%9c", "%EF%BC%8E%EF%BC%8E/", "x/../../", "..%09/", "..%20/"),
)
TARGETS = (
    *("app.py", "secret.txt", "secret.txt%00.css", "secret.txt%20", "secret.txt/", "SECRET.TXT"),
    *("etc/passwd", "%65tc/passwd", "proc/self/environ", "opt/docker-flask/app.ini", "dev/stdin"),
    *("run/docker-flask/nginx.conf", "run/docker-flask/control.sock"),
)
INSIDE_OTHERS = ("root:x:", "daemon off", "PYTHONUNBUFFERED", "[uwsgi]", OUTSIDE)


@pytest.fixture(scope="module")
def container(module_engine: Engine, module_folder: Path) -> Container:
    folder = module_folder
    (folder / "app.py").write_text(APP)
    (folder / "secret.txt").write_text(OUTSIDE)
    for name in ("static/below", "files/below"):
        (folder / name).mkdir(parents=True)
        (folder / name / "inside.txt").write_text("inside")
    (folder / "static/out").symlink_to("..", target_is_directory=True)
    (folder / "static/below/out").symlink_to("../..", target_is_directory=True)
    return module_engine.serve(app=folder)


def paths() -> list[str]:
    """Every combination of these."""
    return [
        f"{begin}{step * count}{target}"
        for begin, step, count, target in product(BEGINS, STEPS, (1, 2, 3, 5, 9), TARGETS)
    ]


@pytest.mark.parametrize("count", [250, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_no_path_leads_out(container: Container, count: int) -> None:
    every = paths()
    assert len(every) > 10_000
    connection = http.client.HTTPConnection("127.0.0.1", container.port(), timeout=10)
    answered = 0
    for path in islice(every, 0, None, max(1, len(every) // count)):
        connection.request("GET", path)
        response = connection.getresponse()
        answer = str(response.headers) + response.read().decode(errors="replace")
        answered += 1
        for words in INSIDE_OTHERS:
            assert words not in answer, path
    connection.request("GET", "/static/below/inside.txt")
    assert connection.getresponse().read() == b"inside"
    connection.close()
    print(f"{answered} paths")
