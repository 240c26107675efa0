"""Prints what is over its limit: functions, classes and modules that are too long for one reading.

Ends with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = 19
MODULE, CLASS, FUNCTION, PARAMETERS = 400, 300, 60, 8


def parts_of(path: Path) -> Iterator[tuple[str, int, int]]:
    """A module, its classes and functions, and their parameters: name, size and limit."""
    name, text = path.relative_to(ROOT), path.read_text()
    yield str(name), text.count("\n"), MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            yield f"{name}: {node.name}", (node.end_lineno or 0) - node.lineno + 1, limit
        if isinstance(node, ast.arguments):
            names = len([*node.posonlyargs, *node.args, *node.kwonlyargs])
            yield f"{name}: parameters of a function", names, PARAMETERS


def main() -> int:
    targets = re.findall(r"(?m)^[a-z0-9-]+:.*## ", (ROOT / "Makefile").read_text())
    rows = [("targets of make", len(targets), TARGETS)]
    modules = sorted(ROOT.glob("docker_flask/**/*.py"))
    rows += [row for path in modules for row in parts_of(path) if row[1] > row[2]]
    for what, size, limit in rows:
        print(f"{size:7,} of {limit:6,}  {what}{'  OVER' if size > limit else ''}")
    return int(any(size > limit for _, size, limit in rows))


sys.exit(main())
