"""Debug mode's pages load themselves again after an edit; nobody touches the browser meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.visit import Site, Watch
from tests.support.harness import DEBUG, DEBUG_PORT, Engine

# Seconds from an edit to the page that shows it, and how long a page must stay as it is.
SHOWN, QUIET = 1.0, 2.0
LIMIT = 8_000  # milliseconds; the times of several edits are judged together

pytestmark = pytest.mark.timed


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (old, file)
    file.write_text(text.replace(old, new))


def shown_after(change: Callable[[], object], wanted: Locator) -> float:
    """Seconds until a page shows what an edit has changed."""
    begun = time.monotonic()
    change()
    wanted.wait_for(timeout=LIMIT)
    return time.monotonic() - begun


def test_a_page_shows_each_edit_by_itself(editable: Site, page: Page, watch: Watch) -> None:
    folder = editable.source
    assert folder
    page.goto(editable.address)
    assert page.locator("script").count() == 0, "the script removes itself"
    home, app = folder / "templates" / "home.html", folder / "app.py"
    button = page.get_by_role("button", name=re.compile("Greet me|Say hello"))
    of_template, of_python = list[float](), list[float]()
    for old, new in (("Greet me", "Say hello"), ("Say hello", "Greet me")):
        wanted = button.filter(has_text=new)
        of_template.append(shown_after(partial(edit, home, old, new), wanted))
    for old, new in (("World", "Mars"), ("Mars", "Venus"), ("Venus", "Earth")):
        wanted = page.locator("h1", has_text=new)
        of_python.append(shown_after(partial(edit, app, f'"{old}"', f'"{new}"'), wanted))
    style = folder / "static" / "style.css"
    begun = time.monotonic()
    style.write_text(f"{style.read_text()}\nh1 {{ color: rgb(1, 2, 3); }}\n")
    expect(page.locator("h1#greeting")).to_have_css("color", "rgb(1, 2, 3)", timeout=LIMIT)
    of_style = time.monotonic() - begun
    for what, times in (("a template", of_template), ("Python", of_python), ("CSS", [of_style])):
        print(f"{what}: shown after", " ".join(f"{took:.2f}" for took in times), "s")
    # The fastest: a browser shares the CPUs with the application that it waits for.
    assert min(of_template) <= SHOWN
    assert min(of_python) <= SHOWN

    # A page with an error shows the repair, too.
    watch.expected = "status of 500"
    broken = page.locator(".debugger h1", has_text="SyntaxError")
    shown_after(lambda: edit(app, "def home() ->", "def home( ->"), broken)
    shown_after(lambda: edit(app, "def home( ->", "def home() ->"), page.locator("h1#greeting"))

    # Nothing loads the page if nobody edits.
    page.evaluate("window.stays = true")
    (folder / "data.db").write_text("written by the application")
    page.wait_for_timeout(QUIET * 1000)
    assert page.evaluate("window.stays")
    lines = editable.container.logs()
    assert "__docker_flask__" not in lines, "requests of the script are no lines of the log"


@pytest.mark.nightly
def test_a_setting_turns_it_off(engine: Engine, sample_app: Path, page: Page) -> None:
    container = engine.run(DEBUG, app=sample_app, env={"LIVE_RELOAD": "0"})
    site = Site(container, "development", DEBUG_PORT, sample_app)
    page.goto(site.address)
    page.evaluate("window.stays = true")
    edit(sample_app / "templates" / "home.html", "Greet me", "Say hello")
    page.wait_for_timeout(QUIET * 1000)
    assert page.evaluate("window.stays")
