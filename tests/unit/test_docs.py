"""The README and docs/: links lead somewhere, files exist, messages are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("benchmarks/*.md")])
README_LINES = 180
# What troubleshooting.md quotes of other programs.
FOREIGN = {
    'Conflict. The container name "/flaskapp" is already in use',
    "SQLite objects created in a thread can only be used in that same thread",
    "KeyError: 'ContainerConfig'",
    "bdb.BdbQuit",
    "sorry, too many clients already",
    "Exception: you need a C compiler to build uWSGI",
    "error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'",
    "SSL: CERTIFICATE_VERIFY_FAILED",
}
VALUE = "\0"  # stands in a string of the code for what is filled in


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- links ---------------------------------------------------------------------------------


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    linked = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in linked]


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{named(page)} links to {link}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_the_readme_lists_every_page() -> None:
    listed = {ROOT / link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert not set(DOCS.glob("*.md")) - listed


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=named)
def test_files_of_the_repository_exist(page: Path) -> None:
    """Those that are named in backticks by their path, and the tests in them."""
    folders = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."
    )
    for path, name in re.findall(rf"`((?:{folders})/[\w./-]*)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / path).exists(), f"{named(page)} names {path}"
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


# --- architecture.md -----------------------------------------------------------------------

ARCHITECTURE = DOCS / "architecture.md"
CODE = ROOT / "docker_flask"


def in_backticks() -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(ARCHITECTURE))


def test_files_that_the_architecture_names_exist() -> None:
    """Named from the top, or below docker_flask/. A path of the container begins with a slash."""
    suffixes = r"\.(py|c|sh|conf|ini|md|svg|toml|txt)"
    for name in in_backticks():
        if re.fullmatch(rf"\w[\w./-]*({suffixes}|/)", name) or "*" in name:
            assert any(folder.glob(name.rstrip("/")) for folder in (ROOT, CODE)), name


def test_names_of_the_architecture_are_those_of_the_code() -> None:
    """Classes and functions: `Plan`, `Supervisor.run()`, `settings.resolve()`."""
    code = "\n".join(path.read_text() for path in CODE.rglob("*.py"))
    for name in in_backticks():
        if match := re.fullmatch(r"(?:[\w.]+\.)?(\w+)\(\)|([A-Z][a-z]\w+)", name):
            known = re.search(rf"\b(def|class) {match[1] or match[2]}\b", code)
            assert known, f"there is no {name} in docker_flask/"


# --- messages ------------------------------------------------------------------------------


def in_python(node: ast.AST) -> Iterator[str]:
    """The strings in a piece of Python; VALUE stands for each expression of an f-string."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
        yield "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from in_python(child)


def in_bash(text: str) -> Iterator[str]:
    """The quoted strings of a script; VALUE stands for each expansion."""
    for quoted in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text):
        yield re.sub(r"\$\(\([^)]*\)\)|\$\{[^}]*\}|\$\w+", VALUE, quoted.replace('\\"', '"'))


def in_c(text: str) -> Iterator[str]:
    """The string literals of C, adjacent ones joined; VALUE stands for each conversion."""
    literal = r'"((?:[^"\\\n]|\\.)*)"'
    for match in re.finditer(rf"{literal}(?:[A-Z_\s]*{literal})*", text):
        joined = "".join(re.findall(literal, match[0])).replace('\\"', '"')
        yield re.sub(r"(?:%[su])+", VALUE, joined)


@cache
def printed() -> list[str]:
    """Every string that the image and its tools may print."""
    files = [ROOT / "entry-point.sh", *ROOT.glob("tools/*"), *ROOT.glob("docker_flask/**/*.*")]
    found: list[str] = []
    for file in files:
        if file.suffix == ".py":
            found += in_python(ast.parse(file.read_text()))
        elif file.suffix == ".c":
            found += in_c(file.read_text())
        elif file.is_file() and file.read_bytes().startswith(b"#!"):
            found += in_bash(file.read_text())
    return found


def fits(word: str, template: str, is_last: bool) -> bool:
    """True for a word as a template has it, with anything for its values; the last may be cut."""
    wanted = [template, template.rstrip(":;,.")] if is_last else [template]
    return (is_last and template.startswith(word)) or any(
        re.fullmatch(re.escape(text).replace(re.escape(VALUE), ".+"), word) for text in wanted
    )


def is_printed(message: str) -> bool:
    """True if a string of the code has these words in this order, at least half of them its own.

    The others are values. `...` in the message stands for several words.
    """
    return all(
        any(_has(template.split(), words) for template in printed())
        for words in map(str.split, message.split("..."))
        if words
    )


def _has(template: list[str], words: list[str]) -> bool:
    for start in range(len(template) - len(words) + 1):
        window = template[start : start + len(words)]
        pairs = zip(words, window, [False] * (len(words) - 1) + [True], strict=True)
        own = sum(VALUE not in word for word in window)
        if 2 * own >= len(words) and all(fits(*pair) for pair in pairs):
            return True
    return False


def messages() -> list[str]:
    """What docs/troubleshooting.md quotes: its headings in backticks."""
    text = (DOCS / "troubleshooting.md").read_text()
    return re.findall(r"^### `(.+)`$", text, re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_of_the_code(message: str) -> None:
    assert is_printed(message) != (message in FOREIGN)


def test_only_messages_are_headings_of_their_kind() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    assert len(re.findall(r"^###", text, re.MULTILINE)) == len(messages()) > len(FOREIGN)


@pytest.mark.parametrize(
    "message",
    [
        "port 8091 is used; choose another",
        "no WSGI callable at /app",
        "LISTEN_PORT='eighty' is forbidden",
        "the application did not load in START_TIMEOUT",
        "low bounds: ...",
        "... without a reason",
    ],
)
def test_what_the_code_does_not_print_is_found(message: str) -> None:
    assert not is_printed(message)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_of_the_log_are_those_of_the_code(page: Path) -> None:
    """Each that a page shows holds a whole string of the code, of three words or more."""
    patterns = [
        re.escape(text).replace(re.escape(VALUE), ".+")
        for text in printed()
        if len([word for word in text.split() if VALUE not in word]) >= 3
    ]
    for line in re.findall(r"^docker-flask: (.+)$", page.read_text(), re.MULTILINE):
        assert any(re.search(pattern, line) for pattern in patterns), line


# --- plain English -------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=named)
def test_phrases_that_are_hard_to_translate(page: Path) -> None:
    phrases = r"anew|serves? on|was said|is said|says so|so many|such a one|sees? to it|is no good"
    others = r"none that|somebody|whoever|of its own accord|not so|has them not"
    assert not re.findall(rf"(?i)\b(?:{phrases}|{others})\b", page.read_text())
