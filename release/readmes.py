"""Compares README.md with README.zh-CN.md: a release has both, in step.

The Chinese page is written for its readers, and not a translation: it has sections, mirrors and
examples of its own. What it must have are the numbers, commands, names and links to pages of the
English one. A contributor need not write Chinese, so only a release fails if they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .registry import Refused

NAMES = ("README.md", "README.zh-CN.md")
PICTURES = ("docs/pictures/overview.svg", "docs/pictures/overview.zh-CN.svg")
NUMBER = r"\d[\d,.]*\d|\d"
MIRRORS = {"APT_MIRROR", "APT_SECURITY_MIRROR", "PIP_INDEX_URL"}


def check(source: Path) -> None:
    """Fail if the Chinese page lacks a fact of the English one."""
    english, chinese = ((source / name).read_text() for name in NAMES)
    if missing := facts(english) - facts(chinese):
        raise Refused(f"{NAMES[1]} lacks what {NAMES[0]} has: {_words(missing)}")
    arguments = set(re.findall(r"--build-arg (\w+)=", chinese))
    known = set(re.findall(r"(?m)^ARG (\w+)", (source / "Dockerfile").read_text()))
    if missing := MIRRORS - arguments:
        raise Refused(f"{NAMES[1]} lacks these build arguments: {_words(missing)}")
    if unknown := arguments - known:
        raise Refused(f"the Dockerfile lacks these build arguments: {_words(unknown)}")
    shapes = {re.sub(r">[^<]+<", "><", (source / name).read_text()) for name in PICTURES}
    if len(shapes) > 1:
        raise Refused(f"the shapes of {PICTURES[1]} differ from those of {PICTURES[0]}")


def facts(page: str) -> set[str]:
    """What a page says in every language: lines of code, names, links to pages, numbers."""
    parts = page.split("```")
    text = "".join(parts[::2])
    code = re.sub(r"\s+# .*", "", "".join(parts[1::2])).splitlines()
    names = re.findall("`([^`]+)`", text)
    links = re.findall(r"\]\((docs/[^)]*\.md[^)]*|[A-Z]+\.md)\)", text)
    return {*code, *names, *links, *re.findall(NUMBER, text)}


def _words(some: Iterable[str]) -> str:
    """Facts in a message."""
    return ", ".join(f"`{fact}`" for fact in sorted(some)) or "nothing"
