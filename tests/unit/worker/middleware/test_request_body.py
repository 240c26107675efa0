"""The body of a request: who reads it, and when."""

from __future__ import annotations

import io

from docker_flask.worker.middleware.body import RequestBody, bodies
from docker_flask.worker.middleware.exchange import Exchange

BODY = b"one\ntwo\n" + b"x" * 100_000


def requested(length: str, body: bytes = b"") -> Exchange:
    """A request after the handler of bodies."""
    environ = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(body)}
    exchange = Exchange(environ, lambda *_: None)
    bodies(lambda _: [])(exchange)
    return exchange


def test_the_application_reads_it_as_from_the_server() -> None:
    exchange = requested(str(len(BODY)), BODY)
    body = exchange.environ["wsgi.input"]
    assert exchange.request_body is body
    assert (body.readline(), next(iter(body))) == (b"one\n", b"two\n")
    assert body.read(10) == b"x" * 10
    assert body.readlines() == [b"x" * 99_990]
    assert body.read() == b""


def test_what_is_kept_can_be_read_during_the_response() -> None:
    source = io.BytesIO(BODY)
    body = RequestBody(source)
    assert body.read(4) == b"one\n"
    body.keep()
    assert source.tell() == len(BODY)
    body.drop()
    assert body.read() == BODY[4:]
    body.close()
