"""nginx's configuration language: enough of it to find the directives of a valid file.

https://nginx.org/en/docs/beginners_guide.html#conf_structure
"""

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
    text, including its semicolon or opening brace.
    """

    name: str
    arguments: tuple[str, ...]
    blocks: tuple[str, ...]
    is_block: bool
    begin: int
    end: int


def directives(text: str) -> Iterator[Directive]:
    """Every directive, in the order of the text."""
    words: list[str] = []
    blocks: list[str] = []
    begin = 0
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if token["quoted"] or token["word"]:
            begin = begin if words else token.start()
            words.append(token["quoted"][1:-1] if token["quoted"] else token["word"])
        elif mark and mark != "}" and words:
            name, *arguments = words
            is_block = mark == "{"
            yield Directive(name, tuple(arguments), tuple(blocks), is_block, begin, token.end())
            words = []
            if is_block:
                blocks.append(name)
        elif mark == "}" and blocks:
            blocks.pop()


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
