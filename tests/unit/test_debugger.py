"""Werkzeug's debugger around the application: which exceptions become its page."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import create_environ

from docker_flask.debug.debugger import Debugger
from docker_flask.worker_options import DebugOptions


def test_the_end_of_a_websocket_is_no_error() -> None:
    """Flask-SocketIO ends it by this exception, on which Werkzeug's server drops the connection."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        raise ConnectionError

    environ = create_environ("/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    environ["REMOTE_ADDR"] = "127.0.0.1"
    with pytest.raises(ConnectionError):
        list(Debugger(application, DebugOptions())(environ, lambda *_: None))
