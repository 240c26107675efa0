"""Takes pictures for the README; needs the image and a browser.

python -m tests.browser.screenshots
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser import chromium
from tests.support.harness import DEBUG, DEBUG_PORT, Container, Engine

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZE: ViewportSize = {"width": 1100, "height": 800}
LARGEST = 150_000
UPLOADS = [(480, 480, number / 8) for number in range(8)]


def take_all(browser: Browser, engine: Engine) -> None:
    """Production with its gallery, and the debugger."""
    page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    production = engine.run()
    production.wait_until_serving()
    page.goto(production.url("/?name=Ada"))
    save(page, "production")
    fill_gallery(page, production)
    save(page, "gallery")
    debug = engine.run(DEBUG)
    debug.wait_until_serving("/", DEBUG_PORT)
    page.goto(debug.url("/fail", DEBUG_PORT))
    page.locator(".debugger .frame pre.current").last.hover()
    save(page, "debug")


def fill_gallery(page: Page, production: Container) -> None:
    """Upload a few pictures."""
    page.goto(production.url("/gallery"))
    for number, (width, height, hue) in enumerate(UPLOADS, 1):
        page.locator("#picture").set_input_files(
            {
                "name": "hills.png",
                "mimeType": "image/png",
                "buffer": chromium.png(width, height, hue),
            }
        )
        page.get_by_role("button", name="Upload").click()
        page.locator("ul#pictures img").nth(number - 1).wait_for()
    page.wait_for_load_state("networkidle")


def save(page: Page, name: str) -> None:
    """Write the whole page; raises ValueError when the file is too large for a README."""
    file = PICTURES / f"{name}.png"
    size = len(page.screenshot(path=file, full_page=True))
    print(f"docs/pictures/{file.name}: {size / 1000:.0f} kB")
    if size > LARGEST:
        raise ValueError(f"{file} is larger than {LARGEST / 1000:.0f} kB")


def main() -> int:
    """Replace the pictures in docs/pictures."""
    if not chromium.find():
        print(chromium.MISSING, file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    engine = Engine(secrets.token_hex(4))
    try:
        with sync_playwright() as playwright:
            take_all(chromium.launch(playwright), engine)
    finally:
        engine.remove_containers()
        engine.client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
