"""Pictures of all pages, light and dark, on a phone and on a desktop.

They are in the folder `screenshots` of the repository, for a person to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from playwright.sync_api import Page, expect

from tests.browser.test_sample_app import upload
from tests.browser.visit import Site, Watch
from tests.support.harness import APPS, PRODUCTION_PORT, REQUEST_ID, ROOT, Engine
from tests.support.pictures import png

FOLDER = ROOT / "screenshots"
SIZES = {"phone": {"width": 320, "height": 640}, "desktop": {"width": 1280, "height": 800}}
REQUEST_IDS = "#fact-request-id, #request-id"
# True if the text of an element stands in one line.
ONE_LINE = """element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const line = parseFloat(getComputedStyle(element).fontSize);
  return range.getBoundingClientRect().height < 1.9 * line;
}"""


def looks(page: Page) -> Iterator[str]:
    """The page in each look, by name."""
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in ("light", "dark"):
            # Without the transition of colours between both.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            yield f"{size}-{scheme}"


def take(page: Page, name: str) -> None:
    """Nothing is wider than the page, and a request's id can be copied as one line."""
    FOLDER.mkdir(exist_ok=True)
    for look in looks(page):
        page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, look)
        for found in page.locator(REQUEST_IDS).all():
            assert found.evaluate(ONE_LINE), (name, look)


def test_the_sample(site: Site, page: Page) -> None:
    for path in ("", "gallery", "none"):
        page.goto(f"{site.address}/{path}")
        take(page, f"{site.badge}-{path or 'home'}")
    page.goto(f"{site.address}/gallery")
    upload(page, "words.txt", b"no picture")
    take(page, f"{site.badge}-refused")
    upload(page, "hills.png", png(48, 32))
    expect(page.locator("#pictures img")).to_have_count(1)
    take(page, f"{site.badge}-pictures")
    site.container.execute("sh", "-c", "rm -r /data/*")  # for the next visitor


def test_errors_in_production(production: Site, page: Page, watch: Watch) -> None:
    """The id on the page finds the lines of the log."""
    watch.expected = "status of 404"  # nginx's page has no favicon
    for path in ("fail", "%zz"):  # the application's, and nginx's
        page.goto(f"{production.address}/{path}")
        take(page, f"production-{path.strip('%')}")
        number = page.locator("#request-id").inner_text()
        assert re.fullmatch(REQUEST_ID, number)
        production.container.wait_for_log(number)


def test_the_debugger(debug: Site, page: Page) -> None:
    page.goto(debug.address)
    expect(page.get_by_text("this page loads itself again")).to_be_visible()
    page.goto(f"{debug.address}/fail")
    FOLDER.mkdir(exist_ok=True)
    for look in looks(page):  # Werkzeug's page is wider than a phone
        page.screenshot(path=FOLDER / f"development-debugger-{look}.png")


def test_the_page_of_a_start_loads_the_application_by_itself(
    engine: Engine, page: Page, watch: Watch
) -> None:
    watch.expected = "status of"  # 503, then 404: this application has no favicon
    container = engine.run(app=APPS / "hello", env={"LOAD_SECONDS": "7"})
    container.wait_for_log("clients get 503")
    page.goto(container.url("/", PRODUCTION_PORT))
    expect(page.locator("h1")).to_have_text("Starting")
    expect(page.locator("p").first).to_contain_text("This page loads itself again.")
    take(page, "nginx-starting")
    expect(page.locator("body")).to_contain_text("hello", timeout=20_000)
