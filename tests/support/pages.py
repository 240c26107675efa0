"""What tests read from the pages of docs/, so that the pages stay true."""

from __future__ import annotations

import re

from tests.support.harness import CA_BUNDLE, IMAGE, ROOT


def text_of(page: str, heading: str = "") -> str:
    """A page, or the section of it below a heading."""
    text = (ROOT / "docs" / page).read_text()
    if heading:
        level, _, _ = heading.partition(" ")
        text = text.partition(f"\n{heading}\n")[2]
        assert text, f"{page} has no {heading!r}"
        text = re.split(rf"^#{{1,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return text


def rows(text: str, mark: str = "") -> list[list[str]]:
    """The cells of the tables in a text, or of the one between two comments; without headings."""
    if mark:
        (text,) = re.findall(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text, re.DOTALL)
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    rules = [number for number, row in enumerate(cells) if not "".join(row).strip("- ")]
    return [row for n, row in enumerate(cells) if n not in rules and n + 1 not in rules]


def recipe(page: str, word: str) -> str:
    """The Dockerfile of a page that has this word, for the image under test."""
    blocks = re.findall(r"```dockerfile\n(.*?)```", text_of(page), re.DOTALL)
    (found,) = [text for text in blocks if word in text]
    # As the recipe is, but behind the machine's proxy.
    if CA_BUNDLE.is_file():
        trust = "--mount=type=secret,id=ca export PIP_CERT=/run/secrets/ca;"
        found = found.replace("RUN ", f"RUN {trust} ")
    return re.sub(r"^FROM docker-flask\b", f"FROM {IMAGE}", found, flags=re.MULTILINE)
