"""Snippets for nginx take away nothing that protects the application from forged headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Engine
from tests.support.servers import CHOSEN, SERVERS, Server

APP = """
from flask import Flask, request

app = Flask(__name__)

@app.get("/")
@app.get("/<path:path>")
def echo(path=""):
    return {
        "scheme": request.scheme,
        "client": request.remote_addr,
        "url": request.url,
        "mine": request.headers.get("X-Mine"),
        "headers": "\\n".join(f"{name}: {value}" for name, value in request.headers),
    }
"""
FORGED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.66",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-SSL": "on",
    "X-Real-IP": "203.0.113.66",
    "Forwarded": "for=203.0.113.66;proto=https;host=evil.example",
    "Proxy": "evil.example",
}
OTHERS = [name for name in ("uwsgi", "gunicorn-gthread") if SERVERS[name] is not CHOSEN]


@pytest.mark.parametrize(
    "server", [CHOSEN, *(pytest.param(SERVERS[n], marks=pytest.mark.nightly) for n in OTHERS)]
)
def test_a_snippet_takes_no_protection_away(
    engine: Engine, tmp_path: Path, app_folder: Path, server: Server
) -> None:
    (app_folder / "app.py").write_text(APP)
    mine, pass_to = "uwsgi_param HTTP_X_MINE yes;", "uwsgi_pass application;"
    snippets = {
        "mine.inc": mine,
        "location.d/mine.conf": "include /etc/nginx/mine.inc;",
        "server.d/mine.conf": (
            f"{mine}\nlocation /own {{ {mine} {pass_to} }}\n"
            f"location /included {{ include mine.inc; {pass_to} }}\n"
            f"location /inherited {{ {pass_to} }}\n"
        ),
        "conf.d/mine.conf": mine,
    }
    volumes: dict[str, Any] = {}
    for name, text in snippets.items():
        file = tmp_path / name.replace("/", "-")
        file.write_text(f"{text}\n")
        volumes[str(file)] = {"bind": f"/etc/nginx/{name}", "mode": "ro"}
    container = engine.run(app=app_folder, server=server, volumes=volumes)
    container.wait_until_serving()
    for path in ("/", "/own", "/included", "/inherited"):
        seen = container.get(path, headers={**FORGED, "Host": "shop.example"}).json()
        assert (seen["scheme"], seen["mine"]) == ("http", "yes"), path
        assert seen["url"] == f"http://shop.example{path}"
        assert seen["client"] != "203.0.113.66"
        assert "evil" not in seen["headers"]
        assert "203.0.113.66" not in seen["headers"]
