"""No spelling of a path leads out of the folders whose files nginx and the application send."""

from __future__ import annotations

import http.client
import io
import os
import tarfile
from itertools import islice, product
from pathlib import Path

import httpx
import pytest

from tests.support.harness import HELLO, Container, Engine

OUTSIDE = "SECRET-OUTSIDE"
APP = f"""{HELLO}
from flask import request, send_from_directory  # {OUTSIDE}

@app.get("/files/<path:name>")
def files(name):
    return send_from_directory("files", name)

@app.post("/unpack")
def unpack():
    io = __import__("io")
    with __import__("tarfile").open(fileobj=io.BytesIO(request.data)) as archive:
        archive.extractall(app.static_folder, filter="fully_trusted")
    return ""
"""
# How a path begins, what is meant to lead up, how often, and to what.
BEGINS = ("/static", "/static/", "/static/below/", "/files/", "/files/below", "//static/", "/")
STEPS = (
    "out/",
    "below/out/",
    "out/static/below/../../",
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    ".%2e/",
    "%2e./",
    "..%5c",
    "..\\",
    "....//",
    "..;/",
    "%252e%252e%252f",
    "%c0%ae%c0%ae/",
    "%uff0e%uff0e/",
    "..%00/",
    "./../",
    "/../",
    "..//",
    "%2e%2e%5c",
    "..%255c",
    "..%c1%9c",
    "%EF%BC%8E%EF%BC%8E/",
    "x/../../",
    "..%09/",
    "..%20/",
)
TARGETS = (
    "app.py",
    "secret.txt",
    "secret.txt%00.css",
    "secret.txt%20",
    "secret.txt/",
    "SECRET.TXT",
    "etc/passwd",
    "%65tc/passwd",
    "proc/self/environ",
    "opt/docker-flask/app.ini",
    "dev/stdin",
    "run/docker-flask/nginx.conf",
    "run/docker-flask/control.sock",
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


LINKS = {
    "evil.css": "/etc/passwd",
    "pw..txt": "/etc/passwd",
    "up": "..",
    "up..x": "..",
    "style.css.gz": "/etc/passwd",
    "conf.txt": "/run/docker-flask/nginx.conf",
    "inside.css": "style.css",
}


def check_links(container: Container) -> None:
    for name in ("evil.css", "pw..txt", "up/app.py", "up..x/app.py", "style.css.gz", "conf.txt"):
        for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"})):
            url = container.url(f"/static/{name}")
            assert httpx.request(method, url, headers=headers).status_code == 404, (name, headers)
    for name in ("style.css", "inside.css"):
        assert container.get(f"/static/{name}").text == "body {}", "also to clients that take gzip"


def test_links_of_an_archive_that_is_unpacked_while_it_runs(
    engine: Engine, app_folder: Path
) -> None:
    """nginx serves the folder, and the container's user can write there."""
    (app_folder / "app.py").write_text(APP)
    static = app_folder / "static"
    for folder in (static, app_folder / "files"):
        folder.mkdir()
        folder.chmod(0o777)
    (static / "style.css").write_text("body {}")
    container = engine.serve(app=app_folder)
    assert "nginx serves /static/ from /app/static" in container.logs()
    links = LINKS | {"../files/chosen.txt": "/etc/passwd"}
    with io.BytesIO() as data:
        with tarfile.open(fileobj=data, mode="w") as archive:
            for name, target in links.items():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, target
                archive.addfile(link)
        assert httpx.post(container.url("/unpack"), content=data.getvalue()).status_code == 200
    check_links(container)
    assert container.get("/files/chosen.txt").text.startswith("root:"), "the application's decision"
    assert "[crit]" not in container.logs()


@pytest.mark.parametrize("first", [{}, {"current": "releases/3"}], ids=["none", "some"])
def test_links_of_another_container_that_writes_the_volume(
    engine: Engine, app_folder: Path, first: dict[str, str]
) -> None:
    """This container's user can't write to the folder. first: links that are there at the start."""
    static = app_folder / "static"
    (static / "releases/3").mkdir(parents=True)
    (static / "releases/3/a.css").write_text("body {}")
    (static / "style.css").write_text("body {}")
    (app_folder / "app.py").write_text(APP)
    for name, target in first.items():
        (static / name).symlink_to(target)
    container = engine.serve(app=app_folder)
    assert "nginx serves /static/ from /app/static" in container.logs()
    for name, target in LINKS.items():
        (static / name).symlink_to(target)
        if first:  # root's links lead to root's files
            os.chown(static / name, 1234, 1234, follow_symlinks=False)
    check_links(container)
    for name in first:
        assert container.get(f"/static/{name}/a.css").text == "body {}"
