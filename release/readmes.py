"""Compares README.md with README.zh-CN.md: a release has both, in step.

A contributor need not write Chinese, so only a release fails if they differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .registry import Refused

NAMES = ("README.md", "README.zh-CN.md")
PICTURES = ("docs/pictures/overview.svg", "docs/pictures/overview.zh-CN.svg")
NUMBER = r"\d[\d,.]*\d|\d"
MIRRORS = {"APT_MIRROR", "APT_SECURITY_MIRROR", "PIP_INDEX_URL"}


def check(source: Path) -> None:
    """Fail if the Chinese page lacks a fact of the English one, or has another."""
    pages = [(source / name).read_text().replace(".zh-CN", "") for name in NAMES]
    english, (*chinese, mirrors) = (page.split("\n## ") for page in pages)
    if len(english) != len(chinese):
        raise Refused(
            f"{NAMES[1]} has {len(chinese)} sections before the one on mirrors, and {NAMES[0]} "
            f"has {len(english)}: translate what is new"
        )
    for section, translation in zip(english, chinese, strict=True):
        wanted, found = facts(section), facts(translation)
        if wanted != found:
            title = section.partition("\n")[0].removeprefix("# ")
            raise Refused(
                f'{NAMES[1]} differs from {NAMES[0]} in the section "{title}": '
                f"only the English one has {_words(wanted - found)}; "
                f"only the Chinese one has {_words(found - wanted)}"
            )
    arguments = set(re.findall(r"--build-arg (\w+)=", mirrors))
    known = set(re.findall(r"(?m)^ARG (\w+)", (source / "Dockerfile").read_text()))
    if missing := MIRRORS - arguments:
        raise Refused(f"{NAMES[1]} lacks these build arguments: {_words(missing)}")
    if unknown := arguments - known:
        raise Refused(f"the Dockerfile lacks these build arguments: {_words(unknown)}")
    shapes = {re.sub(r">[^<]+<", "><", (source / name).read_text()) for name in PICTURES}
    if len(shapes) > 1:
        raise Refused(f"the shapes of {PICTURES[1]} differ from those of {PICTURES[0]}")


def facts(section: str) -> Counter[str]:
    """What a section says in every language: its code, names, links, and the numbers of a row."""
    parts = section.split("```")
    text = "".join(parts[::2])
    code = re.sub(r"\s+# .*", "", "".join(parts[1::2])).splitlines()
    names = re.findall("`([^`]+)`", text)
    links = re.findall(r"\]\(([^#)][^)]*)\)", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    numbers = [
        f"row {row} with {' '.join(sorted(re.findall(NUMBER, line)))}"
        for row, line in enumerate(rows, 1)
    ]
    return Counter([*code, *names, *links, *re.findall(NUMBER, text), *numbers])


def _words(some: Iterable[str]) -> str:
    """Facts in a message."""
    return ", ".join(f"`{fact}`" for fact in sorted(some)) or "nothing"
