"""HTTPS in a browser: the lock, HTTP/2, the redirect, a WebSocket, and debug mode."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import Watch
from tests.support import certificates
from tests.support.harness import DEBUG, DEBUG_PORT, PRODUCTION_PORT, TLS_PORT, Container, Engine
from tests.support.web_sockets import write_app

# Chromium drops what it loads if another test adds a network.
pytestmark = pytest.mark.flaky(reruns=1, only_rerun=["ERR_NETWORK_CHANGED"])

# A message of the page that comes back.
TALK = """() => new Promise((resolve, reject) => {
  const talk = new WebSocket(`wss://${location.host}/echo`);
  talk.onopen = () => talk.send("hello");
  talk.onmessage = ({ data }) => resolve(data);
  talk.onerror = () => reject("no WebSocket");
})"""


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Any]:
    """Options of `Engine.run` for HTTPS."""
    certificates.write(tmp_path / "certs")
    volumes = certificates.mounted(tmp_path / "certs")
    return {"env": {"TLS_CERTIFICATE": "/certs"}, "volumes": volumes}


def address(container: Container, inside: int, scheme: str = "https") -> str:
    return f"{scheme}://{certificates.NAME}:{container.port(inside)}/"


def security(page: Page) -> str:
    """What the browser shows beside the address: "secure" for the lock."""
    states: list[dict[str, Any]] = []
    session = page.context.new_cdp_session(page)
    session.on("Security.visibleSecurityStateChanged", lambda state: states.append(state))
    session.send("Security.enable")
    while not states:
        page.wait_for_timeout(50)
    session.detach()
    return str(states[-1]["visibleSecurityState"]["securityState"])


def test_redirect_lock_and_web_socket(
    engine: Engine, tls: dict[str, Any], app_folder: Path, page: Page, watch: Watch
) -> None:
    watch.expected = "status of 404"  # this application has no favicon
    write_app(app_folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls["env"]["TLS_REDIRECT"] = str(port)
    ports = {f"{PRODUCTION_PORT}/tcp": ("127.0.0.1", None), f"{TLS_PORT}/tcp": ("127.0.0.1", port)}
    container = engine.run(app=app_folder, **tls, ports=ports)
    container.wait_until_serving("/", TLS_PORT)
    response = page.goto(address(container, PRODUCTION_PORT, "http"))
    assert response.url == page.url == address(container, TLS_PORT)
    assert (response.security_details() or {})["protocol"] == "TLS 1.3"
    assert security(page) == "secure"
    assert page.evaluate("isSecureContext")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    assert page.evaluate(TALK) == "hello"


def test_debug_mode_loads_a_page_again(
    engine: Engine, tls: dict[str, Any], sample_app: Path, page: Page
) -> None:
    container = engine.run(DEBUG, app=sample_app, **tls)
    container.wait_for_log("serving app:app")
    page.goto(address(container, DEBUG_PORT))
    assert security(page) == "secure"
    expect(page.locator("#fact-scheme")).to_have_text("https")
    home = sample_app / "templates/home.html"
    home.write_text(home.read_text().replace("Greet me", "Say hello"))
    expect(page.get_by_role("button", name="Say hello")).to_be_visible()
