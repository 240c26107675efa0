"""Prints what is over its limit: what is too long for one reading, or too much to know.

Ends with 1 if there is one. ruff has the limits of complexity and parameters (pyproject.toml).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE, CLASS, FUNCTION, COLUMNS = 400, 300, 60, 100
FOLDERS = ("app", "benchmarks", "docker_flask", "release", "sbom")
# Files with comments, other than Python's.
WITH_COMMENTS = (
    "*",
    ".ci/*",
    ".github/*/*",
    "benchmarks/peers/*/*",
    "deploy/**/*",
    "docker_flask/**/*.sh",
    "docker_flask/cli/bin/*",
    "tools/*",
)
Row = tuple[str, int, int]


def lines_of(path: Path) -> Iterator[Row]:
    """A module, its classes and functions: name, size and limit."""
    name, text = str(path.relative_to(ROOT)), path.read_text()
    yield name, text.count("\n"), MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            yield f"{name}: {node.name}", (node.end_lineno or 0) - node.lineno + 1, limit


def columns_of(path: Path) -> Iterator[Row]:
    """The comments of a file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if re.match(r"\s*#", line):
            yield f"{path.relative_to(ROOT)}:{number}: columns", len(line), COLUMNS


def rows() -> Iterator[Row]:
    """What is counted, in the order of its limits."""
    targets = re.findall(r"(?m)^[a-z0-9-]+:.*## ", (ROOT / "Makefile").read_text())
    yield "targets of make, without measurements and releases", len(targets), 12
    yield "lines of README.md", (ROOT / "README.md").read_text().count("\n"), 150
    for folder in FOLDERS:
        for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
            yield from lines_of(path)
    for path in (path for pattern in WITH_COMMENTS for path in sorted(ROOT.glob(pattern))):
        if path.is_file() and path.suffix not in (".conf", ".lock", ".md", ".png"):
            yield from columns_of(path)


def main() -> int:
    over = [row for row in rows() if row[1] > row[2]]
    for what, size, limit in over:
        print(f"{size:7,} of {limit:6,}  {what}")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
