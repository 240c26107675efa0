"""The way of a request through all handlers: what the server and nginx get."""

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
        self.counted = 0
        self.watch = Watchdog(60, 60, WorkerProcess(0), LateThreads(60, lambda *_: None))
        settings = WorkerOptions(sendfile_location="/secret")
        handlers = chain(application, settings, self.watch, self.count, None)
        try:
            for part in handlers(create_environ(**options), self.start):
                assert [each.silent_since < 0 for each in self.watch.requests.values()] == [True]
                self.body += part
        finally:
            assert (self.watch.requests, self.counted) == ({}, 1)

    def count(self) -> None:
        self.counted += 1

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


# --- bodies and streams --------------------------------------------------------------------------


def answering(body: Any, *headers: tuple[str, str], written: tuple[Any, ...] = ()) -> Application:
    """An application that sends a body."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        write = start("200 OK", [*headers])
        for part in written:
            write(part)
        return body

    return application


class Body:
    """The parts of a body, which note what the server has when each is made."""

    def __init__(self, *parts: Any) -> None:
        self.parts = iter(parts)
        self.events: list[str] = []

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> Any:
        part = next(self.parts, None)
        self.events.append("made" if part else "made all")
        if isinstance(part, BaseException):
            raise part
        if part is None:
            raise StopIteration
        return part

    def close(self) -> None:
        self.events.append("closed")


@pytest.mark.parametrize(
    ("body", "headers", "expected", "is_stream"),
    [
        ([b"one", b"two"], [], b"onetwo", False),
        ((b"one",), [("Content-Length", "3")], b"one", False),
        ([], [], b"", False),
        (iter([b"one", b"two"]), [], b"onetwo", True),
        (iter([b"one", b"two"]), [("Content-Length", "6")], b"onetwo", False),
        (iter([]), [], b"", True),
        (iter([b"", b"two"]), [], b"two", True),
        (Response("text"), [("Content-Length", "4")], b"text", False),
    ],
)
def test_which_bodies_are_streams(
    body: Any, headers: Any, expected: bytes, is_stream: bool
) -> None:
    application = body if isinstance(body, Response) else answering(body, *headers)
    server = Server(application)
    assert server.body == expected
    assert server.values("X-Accel-Buffering") == (["no"] if is_stream else [])


def test_what_is_written_comes_before_what_is_returned() -> None:
    server = Server(answering([b"three"], written=(b"one ", b"two ")))
    assert (server.body, len(server.started)) == (b"one two three", 1)


@pytest.mark.parametrize("headers", [[], [("Content-Length", "6")]])
def test_an_application_that_works_after_its_response(headers: Any) -> None:
    """The client has the whole response before: `call_on_close` is for that."""
    body = Body(b"one", b"two")
    sent: list[int] = []

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        start("200 OK", headers)
        return body

    watch = Watchdog(60, 60, WorkerProcess(0), LateThreads(60, lambda *_: None))
    handlers = chain(application, WorkerOptions(), watch, lambda: None, None)
    for _ in handlers(create_environ(), lambda *_: None):
        sent.append(len(body.events))
    assert sent == [1, 2]
    assert body.events == ["made", "made", "made all", "closed"]


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


@pytest.mark.parametrize(
    ("application", "closed"),
    [
        (answering(Body(SystemExit(22)), ("Content-Length", "9")), True),
        (answering(Body("text")), True),
        (answering(["text"]), False),
        (answering(b"bytes"), False),
        (answering(None), False),
        (answering([], written=("text",)), False),
        (answering(Body(b"one"), ("X-Own", "a\nb")), False),
        (lambda environ, start: [b"no start"], False),
        (lambda environ, start: start("100 Continue", []), False),
    ],
)
def test_a_failure_before_the_first_part_is_a_complete_500(
    application: Any, closed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(application)
    assert [status for status, _ in server.started] == ["500 Internal Server Error"]
    assert server.body == b"Internal Server Error\n"
    assert server.values("Content-Length") == [str(len(server.body))]
    assert "Traceback" in capsys.readouterr().err
    if closed:
        body = application({}, lambda *_: None)
        assert body.events.count("closed") == 1
