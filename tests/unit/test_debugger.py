"""Werkzeug's debugger around the application: which exceptions become its page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest
from werkzeug.test import create_environ

from docker_flask.debug.debugger import Debugger
from docker_flask.worker_options import DebugOptions

HANDSHAKE = {"HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket"}


def call(error: Exception, **environ: str) -> tuple[list[str], str]:
    """A request to an application that fails in this way; returns the statuses and the log."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise error

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    statuses: list[str] = []
    log = io.StringIO()
    debugger = Debugger(application, DebugOptions())
    list(
        debugger(
            {**create_environ("/"), "REMOTE_ADDR": "127.0.0.1", **environ, "wsgi.errors": log},
            start_response,
        )
    )
    return statuses, log.getvalue()


def test_the_end_of_a_websocket_is_no_error() -> None:
    """Flask-SocketIO ends it by this exception, on which Werkzeug's server drops the connection."""
    with pytest.raises(ConnectionError):
        call(ConnectionError(), **HANDSHAKE)


def test_other_errors_are_shown() -> None:
    statuses, log = call(ConnectionError())
    assert statuses == ["500 INTERNAL SERVER ERROR"]
    assert "ConnectionError" in log
