"""The body of a request: who reads it, and when."""

from __future__ import annotations

import io
import os
import socket
import sys
from types import SimpleNamespace

import pytest

from docker_flask.worker import request_body

BODY = b"one\ntwo\n" + b"x" * 100_000


def test_the_application_reads_it_as_from_the_server() -> None:
    environ = {"CONTENT_LENGTH": str(len(BODY)), "wsgi.input": io.BytesIO(BODY)}
    body = request_body.of_request(environ)
    assert environ["wsgi.input"] is body
    assert body is not None
    assert (body.readline(), next(iter(body))) == (b"one\n", b"two\n")
    assert body.read(10) == b"x" * 10
    assert body.readlines() == [b"x" * 99_990]
    assert body.read() == b""


@pytest.mark.parametrize("length", ["", "0", "none"])
def test_no_body(length: str) -> None:
    environ = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO()}
    assert request_body.of_request(environ) is None


def test_what_is_kept_can_be_read_during_the_response() -> None:
    source = io.BytesIO(BODY)
    body = request_body.RequestBody(source, len(BODY))
    assert body.read(4) == b"one\n"
    body.keep()
    assert source.tell() == len(BODY)
    assert body.read() == BODY[4:]
    body.drop()


def test_the_rest_is_dropped() -> None:
    source = io.BytesIO(BODY)
    request_body.RequestBody(source, len(BODY)).drop()
    assert source.tell() == len(BODY)


def test_uwsgi_says_nothing_about_a_body_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    nginx, worker = socket.socketpair()
    with nginx, worker:
        monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(connection_fd=worker.fileno))
        nginx.sendall(b"x" * 1000)
        nginx.close()
        request_body.RequestBody(io.BytesIO(BODY), len(BODY)).drop()
        assert os.read(worker.fileno(), 1) == b""
