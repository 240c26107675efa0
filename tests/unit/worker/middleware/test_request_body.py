"""The body of a request: who reads it, and when."""

from __future__ import annotations

import io
from typing import Any

import pytest

from docker_flask.worker.middleware.body import RequestBody, bodies
from docker_flask.worker.middleware.exchange import Exchange

BODY = b"one\ntwo\n" + b"x" * 100_000


def requested(source: io.BytesIO, **response: Any) -> Any:
    """What the application got, after a response in the way of the given one."""
    exchange = Exchange({"CONTENT_LENGTH": str(len(BODY)), "wsgi.input": source})

    def handle(exchange: Exchange) -> list[bytes]:
        assert exchange.environ["wsgi.input"].read(4) == b"one\n"
        vars(exchange).update(response)
        return []

    bodies(handle)(exchange)
    return exchange.environ["wsgi.input"]


def test_the_application_reads_it_as_from_the_server() -> None:
    body = RequestBody(io.BytesIO(BODY))
    assert (body.readline(), next(iter(body))) == (b"one\n", b"two\n")
    assert body.read(10) == b"x" * 10
    assert body.readlines() == [b"x" * 99_990]
    assert body.read() == b""


@pytest.mark.parametrize(
    ("response", "position", "rest"),
    [
        ({}, len(BODY), b""),
        ({"is_stream": True}, len(BODY), BODY[4:]),
        ({"is_taken": True}, 4, BODY[4:]),  # the connection belongs to the view
    ],
)
def test_what_is_not_read_before_the_response(
    response: dict[str, bool], position: int, rest: bytes
) -> None:
    source = io.BytesIO(BODY)
    body = requested(source, **response)
    assert source.tell() == position
    assert body.read() == rest
    body.close()
