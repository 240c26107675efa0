"""What nginx learns about a response: its file, that it comes in parts, or nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import create_environ
from werkzeug.utils import send_file
from werkzeug.wrappers import Response

from docker_flask.request.chain import chain
from docker_flask.worker.watchdog import Watchdog
from docker_flask.worker.worker_process import WorkerProcess
from docker_flask.worker_options import WorkerOptions

LOCATION = "/secret"
TEXT = b"0123456789" * 10
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """A WSGI server for one request, which notes what it is given."""

    def __init__(self, application: Application, location: str = LOCATION, **options: Any) -> None:
        self.started: list[tuple[Any, ...]] = []
        self.body = b""
        watch = Watchdog(60, 60, WorkerProcess(0))
        settings = WorkerOptions(sendfile_location=location)
        handlers = chain(application, settings, watch, self.count, None)
        for part in handlers(create_environ(**options), self.start):
            self.body += part
        assert not watch.active | watch.silent_since.keys()

    def count(self) -> None:
        self.counted = True

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


def test_a_range_is_left_to_nginx(path: Path) -> None:
    server = Server(sending(path), headers={"Range": "bytes=1-2"})
    assert server.file.startswith("/secret/as-is/")
    assert (server.status, server.body) == ("200 OK", b"")
    assert not server.values("Content-Range")


def test_without_a_location_the_application_sends_the_file(path: Path) -> None:
    server = Server(sending(path), location="")
    assert (server.file, server.body) == (None, TEXT)


def removed(path: Path) -> Any:
    file = path.open("rb")
    path.unlink()
    return file


def replaced(path: Path) -> Any:
    file = path.open("rb")
    path.with_suffix(".new").write_bytes(b"another")
    path.with_suffix(".new").replace(path)
    return file


def begun_at(path: Path | str, offset: int) -> Any:
    file = open(path, "rb")  # noqa: SIM115 - the response closes it
    file.seek(offset)
    return file


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (lambda _: io.BytesIO(TEXT), TEXT),
        (removed, TEXT),
        (replaced, TEXT),
        (lambda path: begun_at(path, 1), TEXT[1:]),
    ],
    ids=["bytesio", "removed", "replaced", "begun"],
)
def test_what_nginx_would_read_otherwise_is_sent_as_it_is(
    path: Path, make: Callable[[Path], Any], body: bytes
) -> None:
    server = Server(sending(make(path)))
    assert (server.file, server.body) == (None, body)


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


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"method": "POST"}, TEXT),
        ({"method": "HEAD"}, b""),
        ({"headers": {"If-None-Match": "*"}}, b""),
        ({"headers": {"If-Match": "ETAG"}}, TEXT),
    ],
    ids=["post", "head", "unchanged", "matching"],
)
def test_requests_that_nginx_would_answer_otherwise(
    path: Path, options: dict[str, Any], body: bytes
) -> None:
    if options.get("headers") == {"If-Match": "ETAG"}:
        options = {"headers": {"If-Match": Server(sending(path)).values("ETag")[0]}}
    server = Server(sending(path), **options)
    assert (server.file, server.body) == (None, body)


# --- headers of others -------------------------------------------------------------------------


def saying(headers: list[tuple[str, str]], body: Iterable[bytes] = (b"text",)) -> Application:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", headers)
        return body

    return application


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("X-accel-Redirect", value)
            for value in ("/secret/etc/passwd", "/mine/file", "@draining")
        ),
        *(("X-Accel-Limit-Rate", "1"), ("X-Accel-Charset", "x"), ("x-accel-buffering", "yes")),
        *(("X-Accel-Expires", "1000"), ("Transfer-Encoding", "chunked")),
    ],
)
def test_what_an_application_passes_on_does_not_direct_nginx(name: str, value: str) -> None:
    server = Server(saying([(name, value), ("X-Own", "1")]))
    assert (server.values(name), server.values("X-Own")) == ([], ["1"])


# --- bit by bit --------------------------------------------------------------------------------


def pieces() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ([], pieces, ["no"]),
        ([("content-length", "6")], pieces, []),
        ([("X-Accel-Buffering", "yes")], pieces, ["no"]),
        ([], lambda: [b"one"], []),
        ([], lambda: (b"one",), []),
    ],
    ids=["generator", "of known length", "foreign word", "list", "tuple"],
)
def test_what_is_made_bit_by_bit_is_not_kept_back(
    headers: list[tuple[str, str]], body: Callable[[], Iterable[bytes]], expected: list[str]
) -> None:
    given = list(headers)
    assert Server(saying(headers, body())).values("X-Accel-Buffering") == expected
    assert headers == given, "the application's own list"


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


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_a_body_that_is_not_of_bytes(make: Callable[[list[Any]], Iterable[Any]]) -> None:
    assert Server(saying([], make(["text"]))).status == "500 Internal Server Error"


@pytest.mark.parametrize(
    ("piece", "status", "body"),
    [(b"one", "200 OK", b"onethree"), ("text", "500 Internal Server Error", b"")],
)
def test_the_old_way_to_write(piece: Any, status: str, body: bytes) -> None:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])(piece)
        return [b"three"]

    server = Server(application)
    assert (server.status, server.counted) == (status, True)
    assert server.body == body or status != "200 OK"
