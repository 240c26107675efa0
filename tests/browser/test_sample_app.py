"""The sample application as a visitor sees it, and as its developer does."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.visit import Site
from tests.support.harness import REQUEST_ID
from tests.support.pictures import png


def test_greets_by_name(site: Site, page: Page) -> None:
    page.goto(site.address)
    expect(page.locator("h1#greeting")).to_have_text("Hello, World!")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Greet me").click()
    expect(page.locator("h1#greeting")).to_have_text("Hello, Ada!")
    assert page.url == f"{site.address}/?name=Ada"


def test_says_what_runs_it(site: Site, page: Page) -> None:
    page.goto(site.address)
    expect(page.locator(f".badge.{site.badge}")).to_be_visible()
    facts = {
        "mode": site.badge,
        "server": r"Werkzeug/[\d.]+.*" if site.debug else "uWSGI behind nginx",
        "worker": r"process \d+",
        "your-address": r"\d+\.\d+\.\d+\.\d+",
        "scheme": "http",
        "request-id": "[0-9a-f]{32}" if site.debug else REQUEST_ID,
    }
    for name, value in facts.items():
        expect(page.locator(f"dl#facts #fact-{name}")).to_have_text(re.compile(f"^{value}$"))


def test_keeps_a_picture(site: Site, page: Page) -> None:
    page.goto(site.address)
    page.get_by_role("navigation").get_by_role("link", name="Gallery").click()
    expect(page.locator("#no-pictures")).to_be_visible()
    upload(page, "hills.png", png(48, 32))
    pictures = page.locator("ul#pictures img")
    expect(pictures).to_have_count(1)
    assert size(pictures) == [48, 32]
    page.reload()
    assert size(pictures) == [48, 32]
    expect(page.locator("#no-pictures")).to_have_count(0)
    site.container.execute("sh", "-c", "rm -r /data/*")  # for the next visitor


def test_page_that_is_not_there(site: Site, page: Page) -> None:
    response = page.goto(f"{site.address}/none")
    assert response is not None
    assert response.status == 404
    expect_decent_error(page, "Not Found")
    page.get_by_role("link", name="Back to the start").click()
    expect(page.locator("h1#greeting")).to_be_visible()


def test_failing_page_in_production(production: Site, page: Page) -> None:
    page.goto(production.address)
    with page.expect_navigation() as navigation:
        page.get_by_role("link", name="page that fails").click()
    assert navigation.value.status == 500
    expect_decent_error(page, "Internal Server Error")
    assert "RuntimeError" not in page.content()
    production.container.wait_for_log("RuntimeError: This page fails on purpose.")


def test_failing_page_in_debug_opens_the_debugger(debug: Site, page: Page) -> None:
    page.goto(debug.address)
    with page.expect_navigation() as navigation:
        page.get_by_role("link", name="page that fails").click()
    assert navigation.value.status == 500
    expect(page.locator(".debugger h1")).to_have_text("RuntimeError")
    expect(page.locator(".debugger .detail")).to_contain_text("This page fails on purpose.")
    pin = re.search(r"debugger PIN: ([\d-]+)", debug.container.logs())
    assert pin

    line = page.locator(".debugger .frame", has_text="/sample/app.py").locator("pre.current")
    line.hover()
    line.get_by_title("Open an interactive python shell in this frame").click()
    prompt = page.locator(".pin-prompt")
    expect(prompt).to_have_css("opacity", re.compile(r"^(1|0\.99.*)$"))  # has faded in
    prompt.locator("input[name=pin]").fill(pin[1])
    prompt.locator("input[name=btn]").click()
    expect(prompt).to_be_hidden()
    console = page.locator("pre.console")
    console.locator("input").fill("f'{app.import_name}-{6 * 7}'")
    console.locator("input").press("Enter")
    expect(console.locator(".output")).to_contain_text("'app-42'")


def test_no_live_reload_in_production(production: Site, page: Page) -> None:
    response = page.goto(production.address)
    assert response is not None
    assert "__docker_flask__" not in response.text()
    policy = response.headers["content-security-policy"]
    assert not re.search("__docker_flask__", policy)
    assert page.request.get(f"{production.address}/__docker_flask__/events").status == 404


def upload(page: Page, name: str, content: bytes) -> None:
    """Choose a file and send it."""
    page.locator("#picture").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    page.get_by_role("button", name="Upload").click()


def size(picture: Locator) -> list[int]:
    """Width and height of a loaded picture; 0 and 0 of one that can't be shown."""
    picture.evaluate(
        "image => image.complete || new Promise(done => image.onload = image.onerror = done)"
    )
    return list(picture.evaluate("image => [image.naturalWidth, image.naturalHeight]"))


def expect_decent_error(page: Page, title: str) -> None:
    """The page has the looks of the application, says what is wrong and leads back."""
    expect(page.locator("h1")).to_have_text(title)
    expect(page.locator("#error-message")).not_to_be_empty()
    back = page.get_by_role("link", name="Back to the start")
    expect(back).to_be_visible()
    expect(back).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
