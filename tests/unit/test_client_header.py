"""What a server that is reached by HTTP gives the application, made what uWSGI gives it."""

from __future__ import annotations

from typing import Any

from docker_flask.worker.client_header import ClientHeader

SAID = "203.0.113.7 4711 http 10.0.0.2 80 HTTP/1.0 /a%20b//c?q=1"


def environ_after(**environ: Any) -> dict[str, Any]:
    """What the application sees of a request."""
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        return []

    list(ClientHeader(application, "X-5ecret")({"PATH_INFO": "/", **environ}, lambda *_: None))
    return seen


def test_nginx_is_believed() -> None:
    assert environ_after(HTTP_X_5ECRET=SAID, PATH_INFO="/a b//c", REMOTE_ADDR="") == {
        "REMOTE_ADDR": "203.0.113.7",
        "REMOTE_PORT": "4711",
        "wsgi.url_scheme": "http",
        "SERVER_NAME": "10.0.0.2",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "REQUEST_URI": "/a%20b//c?q=1",
        "PATH_INFO": "/a b//c",
    }


def test_nobody_else_is() -> None:
    said = {"HTTP_X_DOCKER_FLASK": SAID, "REMOTE_ADDR": "own"}
    assert environ_after(**said) == {"PATH_INFO": "/", **said}
