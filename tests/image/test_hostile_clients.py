"""The proxies of deploy/ and of docs/behind-a-proxy.md, with a client that forges headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import IMAGE, ROOT, Container, Engine, mounted
from tests.support.marks import at_night
from tests.support.stand_ins import stand_in

PORT = 8080  # of deploy/
HOST, CLIENT = "shop.example", "203.0.113.9"
HOSTILE = {
    "X-Forwarded-For": CLIENT,
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": CLIENT,
    "Forwarded": f"for={CLIENT};proto=https;host=evil.example",
}
APP = """
from flask import Flask, request

app = Flask(__name__)

@app.get("/")
@app.get("/page")
def seen():
    claims = {name: value for name, value in request.headers if "For" in name or "Real" in name}
    return {"client": request.remote_addr, "url": request.url, "claims": str(claims)}
"""


def example(program: str) -> str:
    """The lines that the page has for a program."""
    page = (ROOT / "docs/behind-a-proxy.md").read_text()
    found = re.search(rf"In {program}'s [^#]*?:\n\n```\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def documented_nginx() -> str:
    lines = example("nginx")
    below = lines.replace('""; # or', "").replace("/shop", "/shop;")
    assert below != lines
    locations = (
        f"location / {{ proxy_pass http://web:{PORT};\n{lines} }}\n"
        f"location /shop/ {{ proxy_pass http://web:{PORT}/;\n{below} }}\n"
    )
    return f"daemon off; events {{}}\nhttp {{ server {{ {locations} }} }}"


def documented_caddy() -> str:
    lines = example("Caddy")
    below = lines.replace("-X-Forwarded-Prefix", "X-Forwarded-Prefix /shop")
    return (
        f":80 {{\nhandle_path /shop/* {{\nreverse_proxy web:{PORT} {{\n{below}}}\n}}\n"
        f"reverse_proxy web:{PORT} {{\n{lines}}}\n}}\n"
    )


def file(name: str) -> Callable[[], str]:
    return (ROOT / "deploy" / name).read_text


@dataclass(frozen=True)
class Proxy:
    """A program; text: of its configuration; has_prefix: the application is below /shop, too."""

    image: Callable[[], str]
    path: str
    text: Callable[[], str]
    command: list[str] | None = None
    has_prefix: bool = False


CADDY, HAPROXY = (lambda: stand_in("caddy")), (lambda: stand_in("haproxy"))
CADDYFILE, NGINX = "/etc/caddy/Caddyfile", ["nginx", "-c", "/proxy.conf"]
PROXIES = [
    Proxy(lambda: IMAGE, "/proxy.conf", documented_nginx, NGINX, has_prefix=True),
    *at_night(
        Proxy(CADDY, CADDYFILE, documented_caddy, has_prefix=True),
        Proxy(CADDY, CADDYFILE, file("compose/Caddyfile")),
        Proxy(HAPROXY, "/haproxy.cfg", file("haproxy.cfg")),
    ),
]


@pytest.fixture(scope="module")
def web(module_engine: Engine, module_folder: Path) -> Container:
    """The application, as the files of deploy/ set it up."""
    (module_folder / "app.py").write_text(APP)
    env = {"LISTEN_PORT": str(PORT), "HEALTH_PATH": "/up", "TRUSTED_PROXIES": "private"}
    ports = {f"{PORT}/tcp": ("127.0.0.1", None)}
    container = module_engine.run(app=module_folder, env=env, ports=ports)
    container.wait_until_serving("/up", PORT)
    return container


def network(container: Container) -> dict[str, Any]:
    container.docker.reload()
    return dict(container.docker.attrs["NetworkSettings"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_passes_nothing_on(
    module_engine: Engine, web: Container, tmp_path: Path, proxy: Proxy
) -> None:
    address = network(web)["IPAddress"]
    front = module_engine.run(
        proxy.command,
        image=proxy.image(),
        volumes=mounted(tmp_path, {proxy.path: proxy.text()}),
        env={"DOMAIN": "http://"},
        extra_hosts=dict.fromkeys(("web", "node1", "node2", "node3"), address),
    )
    for prefix in ("", "/shop")[: 1 + proxy.has_prefix]:
        front.wait_until_serving(f"{prefix}/page")
        for headers in (HOSTILE, {name.lower(): f"{it}, {it}" for name, it in HOSTILE.items()}):
            seen = front.get(f"{prefix}/page", headers={"Host": HOST, **headers}).json()
            assert seen["client"] == network(front)["Gateway"]
            assert seen["url"] == f"http://{HOST}{prefix}/page"
            assert not re.search(r"evil|https|81|203\.0|'on|Real-Ip|'Forwarded", seen["claims"])


def test_the_container_drops_what_a_proxy_passes_on(
    engine: Engine, app_folder: Path, tmp_path: Path
) -> None:
    """With the documented snippet, behind a proxy that can't clear these two."""
    page = (ROOT / "docs/behind-a-proxy.md").read_text()
    (line,) = re.findall("^uwsgi_param .*$", page, re.MULTILINE)
    (app_folder / "app.py").write_text(APP)
    container = engine.serve(
        app=app_folder,
        env={"TRUSTED_PROXIES": "private"},
        volumes=mounted(tmp_path, {"/etc/nginx/location.d/drop.conf": line}),
    )
    passed = {name: HOSTILE[name] for name in ("X-Forwarded-Port", "X-Forwarded-Prefix")}
    seen = container.get("/page", headers={"Host": HOST, **passed}).json()
    assert seen["url"] == f"http://{HOST}/page"
    assert not re.search("81|/evil", seen["claims"])
