"""What nginx learns about a response: its file, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import create_environ
from werkzeug.utils import send_file
from werkzeug.wrappers import Response

from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware.chain import chain
from docker_flask.worker.server.late_threads import LateThreads
from docker_flask.worker.server.watchdog import Watchdog
from docker_flask.worker.server.worker_process import WorkerProcess

TEXT = b"0123456789" * 10
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """A WSGI server for one request, which notes what it is given."""

    def __init__(self, application: Application, **options: Any) -> None:
        self.started: list[tuple[Any, ...]] = []
        self.body = b""
        watch = Watchdog(60, 60, WorkerProcess(0), LateThreads(60, lambda *_: None))
        settings = WorkerOptions(sendfile_location="/secret")
        handlers = chain(application, settings, watch, lambda: None, None)
        for part in handlers(create_environ(**options), self.start):
            self.body += part
        assert not watch.active | watch.silent_since.keys()

    def start(self, *arguments: Any) -> Callable[[bytes], None]:
        self.started.append(arguments)
        return self.write

    def write(self, data: bytes) -> None:
        self.body += data

    @property
    def status(self) -> str:
        return self.started[-1][0]

    def values(self, name: str) -> list[str]:
        """Those of a header."""
        return [value for key, value in self.started[-1][1] if key.lower() == name.lower()]

    @property
    def file(self) -> str | None:
        return next(iter(self.values("X-Accel-Redirect")), None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a %?#é.txt"
    path.write_bytes(TEXT)
    return path


def sending(file: Any, change: Callable[[Response], Any] = lambda _: None) -> Application:
    """An application that answers with a file, after a change of its response."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        response = send_file(file, environ, mimetype="text/plain")
        change(response)
        return response(environ, start)

    return application


# --- files -------------------------------------------------------------------------------------


def test_a_file_is_named_to_nginx(path: Path) -> None:
    server = Server(sending(path))
    assert server.file == f"/secret{path.parent}/a%20%25%3F%23%C3%A9.txt"
    assert (server.status, server.body, len(server.started)) == ("200 OK", b"", 1)
    assert server.values("Content-Type") == ["text/plain; charset=utf-8"]
    assert server.values("ETag")
    assert not server.values("Content-Length"), "nginx would wait for a body"


def test_a_range_of_a_file_is_named_to_nginx(path: Path) -> None:
    """By the name of Werkzeug's wrapper."""
    server = Server(sending(path), headers={"Range": "bytes=2-5"})
    assert server.file
    assert (server.status, server.body) == ("200 OK", b"")


def test_the_application_sends_the_file_to_a_post(path: Path) -> None:
    server = Server(sending(path), method="POST")
    assert (server.file, server.body) == (None, TEXT)


def add(name: str, value: str) -> Callable[[Response], Any]:
    return lambda response: response.headers.add(name, value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (add("X-Own", "1"), False),
        (add("Content-Type", "text/html"), False),
        (lambda response: setattr(response, "status_code", 206), False),
        (lambda response: response.headers.extend({"Vary": ["Cookie", "Accept"]}), False),
        # What nginx passes on, or is told to add.
        (add("Vary", "Cookie"), True),
        (add("X-Frame-Options", "DENY"), True),
        (add("Content-Encoding", "gzip"), True),
        (lambda response: [response.set_cookie(name, "1") for name in ("one", "two")], True),
    ],
)
def test_headers_of_the_application_arrive(
    path: Path, change: Callable[[Response], Any], named: bool
) -> None:
    server = Server(sending(path, change))
    assert (server.file is not None, server.body) == (named, b"" if named else TEXT)
    assert len(server.values("Set-Cookie")) in (0, 2)


# --- headers of others -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("X-accel-Redirect", value)
            for value in ("/secret/etc/passwd", "/mine/file", "@draining")
        ),
        ("X-Accel-Limit-Rate", "1"),
        ("X-Accel-Charset", "x"),
        ("x-accel-buffering", "yes"),
        ("X-Accel-Expires", "1000"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_what_an_application_passes_on_does_not_direct_nginx(name: str, value: str) -> None:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [(name, value), ("X-Own", "1")])
        return [b"text"]

    server = Server(application)
    assert (server.values(name), server.values("X-Own")) == ([], ["1"])


# --- failures ----------------------------------------------------------------------------------


def test_an_application_that_changes_its_mind() -> None:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        start("500 Oh", [], (ValueError, ValueError(), None))
        return [b"sorry"]

    assert [call[0] for call in Server(application).started] == ["500 Oh"]


@pytest.mark.parametrize("error", [None, (KeyError, KeyError("own"), None)])
def test_an_application_that_fails_within_its_body(error: Any) -> None:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [])
        start("500 Oh", [], error)
        yield b"sorry"
        start("500 Too late", [("X-Accel-Redirect", "/secret/etc/passwd")], error)

    with pytest.raises(RuntimeError, match="failed within its response"):
        Server(application)
