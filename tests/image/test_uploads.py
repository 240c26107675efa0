"""Uploads: one client can neither fill the disk nor make the uploads of others fail."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support import raw_http
from tests.support.harness import HELLO, NO_TLS, Container, Engine, mounted, wait_for
from tests.support.marks import at_night

MB = 1 << 20
APP = f"""{HELLO}
@app.post("/used")
def used():
    disk = os.statvfs("/dev/shm")
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return {{"length": len(request.get_data()), "used": used}}

@app.post("/form")
def form():
    return {{"length": len(request.files["file"].read())}}

@app.post("/unread")
def unread():
    return "not read"
"""


@pytest.fixture(scope="module")
def container(module_engine: Engine, module_folder: Path) -> Container:
    """A container whose only room is /dev/shm, 64 MB."""
    folder = module_folder
    (folder / "app.py").write_text(APP)
    own = (
        "location = /own-404 { return 404; }\nlocation = /own-502 { return 502; }\n"
        "error_page 429 /own-429.html;\nlocation = /own-429.html { return 200 mine; }\n"
        "location = /own-429 { return 429; }\n"
    )
    volumes = mounted(folder.parent, {"/etc/nginx/server.d/own.conf": own})
    return module_engine.serve(app=folder, read_only=True, volumes=volumes)


def post(container: Container, path: str, size: int, form: bool = False) -> httpx.Response:
    """Send a body of zeros."""
    what = {"files": {"file": bytes(size)}} if form else {"content": bytes(size)}
    return httpx.post(container.url(path), timeout=30, verify=NO_TLS, **what)


def test_a_body_lies_in_one_file(container: Container) -> None:
    answer = post(container, "/used", 18 * MB).json()
    assert answer["length"] == 18 * MB
    assert answer["used"] < 27 * MB


def test_five_uploads_at_once_are_taken_or_get_507(container: Container) -> None:
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: post(container, "/used", 20_000_000), range(5)))
    assert {answer.status_code for answer in answers} <= {200, 507}
    # Their files go once nginx has noticed that they ended.
    wait_for(lambda: post(container, "/form", 20_000_000, True).status_code == 200, 10, "room")


def test_an_open_upload_takes_no_room_from_others(container: Container) -> None:
    with socket.create_connection(("127.0.0.1", container.port())) as client:
        head = f"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: {64 * MB}\r\n\r\n"
        client.sendall(head.encode())
        for _ in range(20):
            client.sendall(bytes(MB))
        assert post(container, "/form", 3 * MB, True).json() == {"length": 3 * MB}


@pytest.mark.parametrize(
    ("path", "size", "status", "words"),
    [
        *at_night(("/form", 101 * MB, 413, "larger than 100m (setting MAX_UPLOAD)")),
        ("/form", 70 * MB, 507, "no room for the body"),
        ("/own-404", 0, 404, "nothing at this address"),
        ("/own-502", 0, 502, "application failed"),
    ],
)
def test_error_pages(container: Container, path: str, size: int, status: int, words: str) -> None:
    """nginx's own pages, as HTML and as JSON."""
    for accept in ("text/html,*/*", "application/json, text/plain, */*"):
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n"
        head += f"Content-Length: {size}\r\n\r\n"
        body = [] if status == 413 else [bytes(MB)] * (size // MB)
        received = raw_http.exchange(container.port(), head.encode(), *body, seconds=20, end=False)
        top, _, page = received.decode().partition("\r\n\r\n")
        assert top.startswith(f"HTTP/1.1 {status} "), top
        assert words in page
        assert "nginx/" not in received.decode()
        kind = "application/json" if "json" in accept else "text/html; charset=utf-8"
        assert f"Content-Type: {kind}" in top
        assert page.startswith('{"code":' if "json" in accept else "<!doctype html>")
    own = container.get("/own-429")
    assert (own.status_code, own.text) == (429, "mine")


def test_an_error_of_the_application_is_its_own(container: Container) -> None:
    assert "docker" not in container.get("/missing").text
    assert container.get("/.docker-flask/error.html").status_code == 404
