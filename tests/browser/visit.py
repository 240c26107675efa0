"""What is visited, and what goes wrong meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Request

from tests.support.harness import DEBUG_PORT, Container


@dataclass
class Site:
    """The sample application in one mode; what it calls that mode itself is its badge."""

    container: Container
    badge: str
    port: int
    source: Path | None = None
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.container.wait_until_serving("/", self.port)
        self.address = self.container.url("", self.port)

    @property
    def debug(self) -> bool:
        """True in debug mode."""
        return self.port == DEBUG_PORT


class Watch:
    """What a visitor would not see, but should not happen either."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.expected: str | None = None
        self.visited: set[str] = set()
        self.asked: set[str] = set()

    def on_console(self, message: ConsoleMessage) -> None:
        """Note an error, unless it says with which status a page itself came: tests check that."""
        text, url = message.text, message.location["url"]
        of_page = text.startswith("Failed to load resource") and url in self.visited
        expected = self.expected is not None and self.expected in text
        if message.type == "error" and not of_page and not expected:
            self.problems.append(f"console: {text} ({url})")

    def on_dialog(self, dialog: Dialog) -> None:
        """Note that a script has come through."""
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def on_request(self, request: Request) -> None:
        """Note each address: of pages, and of what they load."""
        if request.is_navigation_request():
            self.visited.add(request.url)
        self.asked.add(request.url)

    def summary(self) -> list[str]:
        """All problems; the pages visited are the only host that may be asked for anything."""
        hosts = {urlsplit(url).netloc for url in self.visited}
        elsewhere = sorted(url for url in self.asked if urlsplit(url).netloc not in hosts)
        return [*self.problems, *(f"request to another host: {url}" for url in elsewhere)]
