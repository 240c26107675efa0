"""Behind a proxy: in both modes alike, trusted proxies are believed and nobody else is.

The test itself plays the proxy; its address, as containers see it, is a private one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    PRODUCTION_PORT,
    Container,
    Engine,
    command_in_netns,
    mounted,
)
from tests.support.marks import at_night
from tests.support.pages import rows

MODES = {"production": ([], PRODUCTION_PORT), "debug": (DEBUG, DEBUG_PORT)}
CLIENT, STRANGER = "203.0.113.9", "198.51.100.7"
HOST = "shop.example"
APP = """
from flask import Flask, redirect, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
plain = app.wsgi_app
fixed = ProxyFix(plain, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)

def either(environ, start_response):
    return (fixed if "fix" in environ["QUERY_STRING"] else plain)(environ, start_response)

app.wsgi_app = either

@app.get("/admin")
def admin():
    return "admin"

@app.get("/raw/<path:rest>")
def raw(rest):
    return [request.environ[name] for name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_URI")]

@app.get("/")
@app.get("/echo")
def echo():
    return {
        "client": request.remote_addr,
        "scheme": request.scheme,
        "secure": request.is_secure,
        "root": request.url_root,
        "path": request.path,
        "url": url_for("echo", _external=True),
        "static": url_for("static", filename="style.css"),
        "claims": {
            name.lower(): value
            for name, value in request.headers
            if "forwarded" in name.lower() or "real" in name.lower()
        },
    }

@app.get("/leave")
def leave():
    return redirect(url_for("echo", _external=True))

@app.get("/folder/")
def folder():
    return "folder"

@app.get("/fail")
def fail():
    return 1 / 0
"""
STYLE = "body { color: green }"
Headers = dict[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Served:
    """A container and the port of its mode."""

    container: Container
    inside: int

    def get(self, path: str, headers: Headers | None = None) -> httpx.Response:
        """GET a path as the proxy does; the application is to see it as sent to HOST."""
        whole = [("Host", HOST), *(headers.items() if isinstance(headers, dict) else headers or [])]
        return self.container.get(path, self.inside, headers=whole)

    def echo(self, headers: Headers | None = None, path: str = "/echo") -> dict[str, Any]:
        """What the application makes of a request."""
        answer = self.get(path, headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


# Whom the container trusts: its neighbours, nobody, or a network where the test is not. The fourth
# has a proxy that leaves a prefix in the path.
TRUSTED = {
    "private": {"TRUSTED_PROXIES": "private"},
    "default": {},
    "elsewhere": {"TRUSTED_PROXIES": "203.0.113.0/24, 2001:db8::/32"},
    "prefix": {"TRUSTED_PROXIES": "private", "SCRIPT_NAME": "/my.shop/"},
}
RULES = {"/etc/nginx/server.d/rules.conf": "location /admin { deny all; }"}


@pytest.fixture(scope="module", params=MODES)
def by_trust(
    module_engine: Engine, request: pytest.FixtureRequest, module_folder: Path
) -> dict[str, Served]:
    """A container for each of TRUSTED, in one of the modes."""
    folder = module_folder
    (folder / "static").mkdir(mode=0o755, exist_ok=True)
    (folder / "app.py").write_text(APP)
    (folder / "static/style.css").write_text(STYLE)
    command, inside = MODES[request.param]
    more: dict[str, Any] = {"app": folder, "volumes": mounted(folder, RULES)}
    served = {
        name: Served(module_engine.run(command, env=env, **more), inside)
        for name, env in TRUSTED.items()
    }
    for one in served.values():
        one.container.wait_until_serving(inside=inside)
    return served


@pytest.fixture
def trusting(by_trust: dict[str, Served]) -> Served:
    """A container that trusts its peer."""
    return by_trust["private"]


@pytest.fixture(params=["default", "elsewhere"])
def wary(by_trust: dict[str, Served], request: pytest.FixtureRequest) -> Served:
    """A container that does not."""
    return by_trust[request.param]


TLS = {
    "X-Forwarded-For": CLIENT,
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HOST,
    "X-Forwarded-Port": "443",
    # These are dropped, whoever sends them.
    "X-Forwarded-SSL": "off",
    "X-Real-IP": STRANGER,
    "Forwarded": f"for={STRANGER};proto=http;host=evil.example",
}


def test_behind_tls(trusting: Served) -> None:
    assert trusting.echo(TLS) == {
        "client": CLIENT,
        "scheme": "https",
        "secure": True,
        "root": f"https://{HOST}/",
        "path": "/echo",
        "url": f"https://{HOST}/echo",
        "static": "/static/style.css",
        "claims": {
            "x-forwarded-for": CLIENT,
            "x-forwarded-proto": "https",
            "x-forwarded-host": HOST,
            "x-forwarded-port": "443",
        },
    }
    assert trusting.get("/leave", TLS).headers["Location"] == f"https://{HOST}/echo"
    assert trusting.get("/folder", TLS).headers["Location"] == f"https://{HOST}/folder/"


@pytest.mark.parametrize("removed", [True, False])
def test_under_a_sub_path(by_trust: dict[str, Served], removed: bool) -> None:
    """The proxy has removed the prefix from the path, and names it; or a setting names it."""
    prefix = "/shop" if removed else "/my.shop"
    served = by_trust["private" if removed else "prefix"]
    headers = {**TLS, "X-Forwarded-Prefix": "/shop"}
    before = "" if removed else prefix
    for path in {f"{before}/echo", "/echo"}:
        got = served.echo(headers, path)
        assert got["url"] == f"https://{HOST}{prefix}/echo"
        assert got["root"] == f"https://{HOST}{prefix}/"
        assert got["path"] == "/echo"
        assert got["static"] == f"{prefix}/static/style.css"
        assert got == served.echo(headers, f"{path}?fix")
    assert served.get(f"{before}/static/style.css", headers).text == STYLE
    for path in ("/leave", "/folder"):
        location = served.get(before + path, headers).headers["Location"]
        assert location.startswith(f"https://{HOST}{prefix}/"), location
    assert served.echo(headers, f"{before}/")["path"] == "/"


def test_the_prefix_and_no_more_is_removed(by_trust: dict[str, Served]) -> None:
    served = by_trust["prefix"]
    for sent, path in {
        "/my.shop/raw/a%3Fb%252F%20c?x": "/raw/a?b%2F c",
        "/m%79.shop/raw/my.shop/x": "/raw/my.shop/x",
        "/raw/my.shop/x": "/raw/my.shop/x",
    }.items():
        assert served.get(sent).json() == ["/my.shop", path, sent]
    for path in ("/myxshop/raw/x", "/my.shopping/raw/x", "/my.shop/my.shop/raw/x"):
        assert served.get(path).status_code == 404
    end = served.get("/my.shop?x=//y", TLS).headers["Location"].removeprefix(f"https://{HOST}")
    assert end == "/my.shop/?x=//y"


@pytest.mark.parametrize("by_trust", ["production"], indirect=True)
@pytest.mark.parametrize("trust", ["private", "prefix"])
def test_no_prefix_leads_around_a_rule_of_nginx(by_trust: dict[str, Served], trust: str) -> None:
    served = by_trust[trust]
    for prefix in ("/my.shop", "/x"):
        for path in ("/admin", "{}/admin", "{}%2Fadmin", "{}//admin"):
            answer = served.get(path.format(prefix), {"X-Forwarded-Prefix": prefix})
            assert answer.status_code in (308, 400, 403, 404), path
            assert answer.text != "admin"


def test_a_prefix_opens_no_internal_location(engine: Engine, tmp_path: Path) -> None:
    """A rewrite would: nginx takes the request for an internal one from then on."""
    snippets = {"/etc/nginx/server.d/own.conf": "location /own { internal; alias /app; }"}
    env = {"SCRIPT_NAME": "/shop"}
    code, _, err = engine.run(env=env, volumes=mounted(tmp_path, snippets)).finish()
    assert code == 78
    assert (
        "SCRIPT_NAME=/shop opens internal locations: remove `internal` in /etc/nginx/server.d"
        in err
    )
    container = engine.serve(env=env)
    location = container.shell("grep -om1 '/[0-9a-f]*/as-is' /run/docker-flask/nginx.conf").strip()
    for path in (f"{location}/etc/passwd", "/.docker-flask/error.json"):
        assert container.get(f"/shop{path}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {"secure": False, "root": f"http://{HOST}/"}),
        ({"X-Forwarded-Host": "other.example:8443"}, {"root": "http://other.example:8443/"}),
        # Header lines that stand there twice: the last one is that of the nearest proxy.
        ([("X-Forwarded-Proto", "https"), ("x-forwarded-proto", "http")], {"scheme": "http"}),
        ([("X-Forwarded-For", CLIENT), ("X-Forwarded-For", "10.0.0.3")], {"client": CLIENT}),
        # Another header, which no proxy sends.
        ({**TLS, "X_Forwarded_For": STRANGER}, {"client": CLIENT}),
    ],
)
def test_what_a_trusted_proxy_may_say(
    trusting: Served, headers: Headers, expected: dict[str, Any]
) -> None:
    got = trusting.echo(headers)
    assert {name: got[name] for name in expected} == expected


@pytest.mark.parametrize("path", ["/echo", "/echo?fix"])
def test_nobody_else_can_say_anything(wary: Served, path: str) -> None:
    """Other headers are made up in test_forging.py."""
    headers = {**TLS, "X-Forwarded-Prefix": "/shop", "X-Forwarded-Host": "evil.example"}
    got = wary.echo(headers, path)
    peer = got["client"]
    assert peer == wary.echo()["client"]
    assert CLIENT not in wary.container.logs(), "nobody can hide in the log"
    assert got == {
        "client": peer,
        "scheme": "http",
        "secure": False,
        "root": f"http://{HOST}/",
        "path": "/echo",
        "url": f"http://{HOST}/echo",
        "static": "/static/style.css",
        "claims": {"x-forwarded-for": peer, "x-forwarded-proto": "http"},
    }


FORWARDED_FOR = {
    "": None,
    CLIENT: CLIENT,
    f"{STRANGER}, {CLIENT}": CLIENT,
    f"{CLIENT}, 10.0.0.3,[fd00::1]:80": CLIENT,
    "2001:db8::5": "2001:db8::5",
    "[2001:db8::5]:4711": "2001:db8::5",
    f"{CLIENT}, unknown, 10.0.0.3": "10.0.0.3",
    "10.0.0.8, 10.0.0.9": "10.0.0.8",
}


@pytest.mark.parametrize("by_trust", ["production"], indirect=True)
def test_the_log_and_the_application_agree_on_the_client(
    trusting: Served, by_trust: dict[str, Served]
) -> None:
    """Two programs read the header here; debug mode's log shows the proxy."""
    peer = by_trust["default"].echo()["client"]
    for number, (forwarded, client) in enumerate(FORWARDED_FOR.items()):
        got = trusting.echo({"X-Forwarded-For": forwarded}, f"/echo?number={number}")["client"]
        assert got == (client or peer), forwarded
    trusting.echo(path="/echo?last")
    log = trusting.container.wait_for_log("/echo?last")
    logged = [line.split()[0] for line in log.splitlines() if "/echo?number=" in line]
    assert logged == [client or peer for client in FORWARDED_FOR.values()]


@pytest.mark.parametrize("by_trust", ["debug"], indirect=True)
def test_the_debugger_goes_by_the_real_host(trusting: Served) -> None:
    """A page that a browser was lured to can't open it by naming another host."""
    lured = trusting.get("/fail", {"X-Forwarded-Host": "localhost"})
    assert lured.status_code == 500
    assert "ZeroDivisionError" in lured.text
    assert "EVALEX = false" in lured.text
    assert "proxies.py" not in lured.text, "no frame of the application's"
    assert "EVALEX = true" in trusting.container.get("/fail", DEBUG_PORT).text


CASES = [row[1:] for row in rows("behind-a-proxy.md", "<!-- clients -->", "<!-- /clients -->")]
FORGED = "192.0.2.66"
# Asks for /echo from an address that the container's network gets for it.
ASK = """
import http.client, json, subprocess, sys
peer, port, headers = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
subprocess.run(["ip", "address", "replace", f"{peer}/32", "dev", "lo"], check=True)
connection = http.client.HTTPConnection("127.0.0.1", port, 10, (peer, 0))
connection.request("GET", "/echo", headers=headers)
print(connection.getresponse().read().decode())
"""


@pytest.fixture(scope="module")
def by_setting(module_engine: Engine, module_folder: Path) -> Callable[[str, str], Served]:
    """Gives a container in a mode with a value of TRUSTED_PROXIES, the same one each time."""
    (module_folder / "app.py").write_text(APP)

    @cache
    def one(mode: str, trusted: str) -> Served:
        command, inside = MODES[mode]
        env = {"TRUSTED_PROXIES": trusted}
        return Served(module_engine.serve(command, app=module_folder, env=env), inside)

    return one


@pytest.mark.parametrize("mode", ["production", *at_night("debug")])
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_the_table_of_proxies(
    by_setting: Callable[[str, str], Served], mode: str, case: list[str]
) -> None:
    """The page's table: the first column is for its readers."""
    peer, hops, trusted, client, root, forgeable = (cell.strip("`-") for cell in case)
    served = by_setting(mode, trusted)

    def ask(hops: str) -> tuple[str, str]:
        headers = {"Host": "flaskapp"} | ({**TLS, "X-Forwarded-For": hops} if hops else {})
        words = [sys.executable, "-c", ASK, peer, str(served.inside), json.dumps(headers)]
        words = command_in_netns(served.container.pid, words)
        seen = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        return seen["client"], seen["root"]

    assert ask(hops) == (client, root)
    assert ask(f"{FORGED}, {hops}".rstrip(", "))[0] == (FORGED if forgeable == "yes" else client)
