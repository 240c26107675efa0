"""A browser that keeps an eye on what goes wrong in it, and the sample application to visit."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.visit import Site, Watch
from tests.support import certificates
from tests.support.harness import DEBUG, DEBUG_PORT, PRODUCTION_PORT, Engine
from tests.support.marks import at_night

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# It runs as root in CI, and must send no requests except those of the tests.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # For HTTPS: a host that is no loopback address, and the root of the tests.
    f"--host-resolver-rules=MAP {certificates.NAME} 127.0.0.1",
    f"--ignore-certificate-errors-spki-list={certificates.root_pin()}",
]
REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.fixture(scope="module")
def production(module_engine: Engine) -> Site:
    """The image as it is."""
    return Site(module_engine.run(), "production", PRODUCTION_PORT)


@pytest.fixture(scope="module")
def debug(module_engine: Engine) -> Site:
    """Debug mode, with the source in the image."""
    return Site(module_engine.run(DEBUG), "development", DEBUG_PORT)


@pytest.fixture
def editable(engine: Engine, sample_app: Path) -> Site:
    """Debug mode, with a copy of the source to edit."""
    container = engine.run(DEBUG, app=sample_app)
    return Site(container, "development", DEBUG_PORT, sample_app)


@pytest.fixture(params=["production", *at_night("debug")])
def site(request: pytest.FixtureRequest) -> Site:
    """The sample application, in each mode."""
    site: Site = request.getfixturevalue(request.param)
    return site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        pytest.skip(f"no {PROGRAMS[0]} here: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def watch() -> Watch:
    """What goes wrong in the page."""
    return Watch()


@pytest.fixture
def page(
    browser: Browser, watch: Watch, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Page]:
    """A fresh page, which must end without an error in its console or a request elsewhere."""
    page = browser.new_page()
    page.set_default_timeout(10_000)
    page.on("console", watch.on_console)
    page.on("pageerror", lambda error: watch.problems.append(f"script failed: {error}"))
    page.on("dialog", watch.on_dialog)
    page.on("request", watch.on_request)
    yield page
    problems = watch.summary()
    if problems or request.node.stash[REPORT].failed:
        picture = tmp_path / "page.png"
        page.screenshot(path=picture, full_page=True)
        print(f"{page.url} looked like {picture}")
    page.close()
    assert not problems


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the outcome for the page's fixture."""
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report
    return report
