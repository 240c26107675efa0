"""docs/architecture.md lists what the image changes in the application's Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "docker_flask"
CHANGES, PRIVATE = re.split(
    r"^Private names .*$",
    (ROOT / "docs/architecture.md")
    .read_text()
    .partition("## What the image changes in your Python\n")[2]
    .partition("\n## ")[0],
    flags=re.MULTILINE,
)
# Python documents these, or they are methods of a named tuple.
DOCUMENTED = {"os._exit", "sys._current_frames", "_thread", "configuration._replace"}
MAXIMUM = 6


def private_names(tree: ast.AST) -> Iterator[str]:
    """What a module uses of other projects that has an underscore in front."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if node.module != "__future__"]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"_[A-Z]\w+", str(node.value)):
            names = [str(node.value)]
        yield from (name for name in names if re.search(r"(^|\.)_[a-zA-Z]\w*$", name))


def test_the_private_names_of_other_projects() -> None:
    found = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in private_names(ast.parse(path.read_text()))
    }
    found -= DOCUMENTED | {"_ssl", "_FILE"}  # only for the name in it; secret_files.SUFFIX
    rows = re.findall(r"^\| (`.*?) \|", PRIVATE, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert found == listed
    assert len(listed) <= MAXIMUM


def test_each_hook_has_a_row() -> None:
    """Whether the files and tests in the rows exist, test_docs.py tests."""
    rows = re.findall(r"^\| `([\w./]+\.py)`.*`tests/[\w/]+\.py::\w+` \|$", CHANGES, re.MULTILINE)
    hooks = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("worker/hooks/[a-z]*")}
    assert hooks <= set(rows)
