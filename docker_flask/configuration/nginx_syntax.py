"""nginx's configuration language: enough of it to find the directives of a file.

nginx itself decides if a file is valid. This module has to be right about valid files only.
https://nginx.org/en/docs/beginners_guide.html#conf_structure
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<mark>[;{}])
    | (?P<quoted> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | (?P<word> (?: \\. | \$\{ | [^\s;{\\] )+ )  # the brace of ${variable} opens no block
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Directive:
    """One directive, or the head of a block.

    blocks: the names of the blocks around it, the outermost first. begin, end: its position in the
    text, including its semicolon or opening brace. block: where the head of its block begins, -1
    outside of all blocks.
    """

    name: str
    arguments: tuple[str, ...]
    blocks: tuple[str, ...]
    is_block: bool
    begin: int
    end: int
    block: int = -1


def directives(text: str) -> Iterator[Directive]:
    """Every directive, in the order of the text."""
    words: list[str] = []
    blocks: list[tuple[str, int]] = []
    begin = 0
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if token["quoted"] or token["word"]:
            begin = begin if words else token.start()
            words.append(token["quoted"][1:-1] if token["quoted"] else token["word"])
        elif mark and mark != "}" and words:
            name, *arguments = words
            is_block = mark == "{"
            names, block = tuple(name for name, _ in blocks), blocks[-1][1] if blocks else -1
            yield Directive(name, tuple(arguments), names, is_block, begin, token.end(), block)
            words = []
            if is_block:
                blocks.append((name, begin))
        elif mark == "}" and blocks:
            blocks.pop()


def is_complete(text: str) -> bool:
    """True if the text can stand in the middle of another one: each directive, block and quote that
    begins in the text ends there."""
    depth, is_ended = 0, True
    for token in _TOKEN.finditer(text):
        if token["mark"]:
            depth += {"{": 1, "}": -1, ";": 0}[token["mark"]]
            is_ended = True
        elif token["quoted"] or token["word"]:
            is_ended = False
        # A word that begins with a quote is a quote without an end.
        if depth < 0 or (token["word"] or "").startswith(('"', "'")):
            return False
    return not depth and is_ended and not text.endswith("\\")


def replace(text: str, found: list[tuple[Directive, str]]) -> str:
    """The text with other text in place of these directives, which are in their order.

    The line breaks stay, so that nginx's messages name the right line.
    """
    pieces, position = [], 0
    for directive, instead in found:
        breaks = text.count("\n", directive.begin, directive.end)
        pieces += [text[position : directive.begin], instead, "\n" * breaks]
        position = directive.end
    return "".join([*pieces, text[position:]])
