"""Pages that load themselves again: which responses get the script."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import Client, TestResponse
from werkzeug.wsgi import ClosingIterator

from docker_flask.debug.debugger import Debugger
from docker_flask.debug.live_reload import SCRIPT, LiveReload
from docker_flask.worker.middleware.wsgi_types import Environ, StartResponse
from tests.support import plans

PAGE = b"<!doctype html><p>A page</p>"
VISIT = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Dest": "document"}


def get(
    status: str = "200 OK", method: str = "GET", visit: dict[str, str] | None = None, **headers: str
) -> TestResponse:
    """The response to a visit; headers of the application's response with underscores."""
    closed: list[bool] = []
    body = ClosingIterator([PAGE[:10], PAGE[10:]], lambda: closed.append(True))
    pairs = {"Content-Type": "text/html; charset=utf-8"}
    pairs |= {name.replace("_", "-"): value for name, value in headers.items()}

    def application(environ: Environ, start_response: StartResponse) -> Any:
        start_response(status, list(pairs.items()))
        return body

    client = Client(LiveReload(application))
    response = client.open(
        "/", "http://localhost/shop", method=method, headers=VISIT if visit is None else visit
    )
    response.get_data()
    response.close()
    assert closed
    return response


def test_a_page_ends_with_the_script() -> None:
    response = get(Content_Length=str(len(PAGE)))
    assert response.data.startswith(PAGE)
    assert f'<script src="/shop{SCRIPT}"'.encode() in response.data[len(PAGE) :]
    assert response.headers["Content-Length"] == str(len(response.data))
    stream = get("500 INTERNAL SERVER ERROR")
    assert SCRIPT.encode() in stream.data
    assert "Content-Length" not in stream.headers


@pytest.mark.parametrize(
    "options",
    [
        {"Content_Type": "application/json"},
        {"Content_Type": "text/plain"},
        {"Content_Encoding": "gzip"},
        {"Content_Disposition": "attachment; filename=x.html"},
        {"status": "206 PARTIAL CONTENT", "Content_Range": "bytes 0-27/28"},
        {"method": "POST"},
        {"visit": {}},
        {"visit": {"Accept": "*/*"}},
        {"visit": {**VISIT, "Sec-Fetch-Dest": "empty"}},
        {"Content_Security_Policy": "default-src 'self'"},
    ],
)
def test_other_responses_stay_as_they_are(options: Any) -> None:
    response = get(**options)
    assert response.data == PAGE
    assert dict(response.headers).get("Content-Security-Policy") in (
        None,
        options.get("Content_Security_Policy"),
    )


def test_a_generator_that_fails_at_its_start_gets_the_debuggers_page() -> None:
    def application(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        yield str(1 // 0).encode()

    client = Client(LiveReload(Debugger(application, plans.make().settings)))
    response = client.get("/", headers=VISIT, environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert response.status_code == 500
    assert b"ZeroDivisionError" in response.data
