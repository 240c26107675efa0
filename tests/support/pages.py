"""What tests read from the pages of docs/, so that the pages stay true."""

from __future__ import annotations

import re

from tests.support.harness import CA_BUNDLE, IMAGE, ROOT

DOCS = ROOT / "docs"


def rows(page: str, start: str, end: str) -> list[list[str]]:
    """The cells of the tables between two lines of a page, without headings."""
    text = (DOCS / page).read_text().split(f"\n{start}\n")[1].split(f"\n{end}")[0] + "\n"
    bodies = re.findall(r"^\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [line[1:-1].split("|") for body in bodies for line in body.splitlines()]
    return [[cell.strip() for cell in line] for line in lines]


def recipe(page: str, word: str) -> str:
    """The Dockerfile of a page that has this word, for the image under test."""
    blocks = re.findall(r"```dockerfile\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (found,) = [text for text in blocks if word in text]
    return for_this_machine(found)


def for_this_machine(dockerfile: str) -> str:
    """The text for the image under test, and behind the machine's proxy."""
    if CA_BUNDLE.is_file():
        trust = "--mount=type=secret,id=ca export PIP_CERT=/run/secrets/ca;"
        dockerfile = dockerfile.replace("RUN ", f"RUN {trust} ")
    return re.sub(r"^FROM docker-flask\b", f"FROM {IMAGE}", dockerfile, flags=re.MULTILINE)
