"""SnapPass, whose links show a secret once, with Redis."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tests.support.foreign_apps import Application, Served

APPLICATION = Application("snappass", server="redis", env={"REDIS_HOST": "redis"})
LINKS: list[str] = []


def write(served: Served) -> None:
    """As many links as there are checks."""
    for _ in range(2):
        page = served.submit("/", {"password": "Oolong", "ttl": "Day"})
        (link,) = re.findall(r'value="(https://[^"]+)"', page.text)
        LINKS.append(urlsplit(link).path)


def check(served: Served) -> None:
    link = LINKS.pop()
    assert "Oolong" not in served.get(link).text
    assert "Oolong" in served.post(link).text
    served.get(link, 404)
