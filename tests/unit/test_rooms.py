"""The rooms of docker_flask: who may import whom, and which packages each process needs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "docker_flask"
GROUND = "docker_flask"
# Each room, and the rooms whose modules it may import beside the ground's and its own. PID 1 has
# the first seven and `debug/reloader.py`; the application's processes have the others.
MAY_IMPORT: dict[str, set[str]] = {
    GROUND: set(),
    "configuration": set(),
    "first_process": set(),
    "nginx": {"configuration", "first_process"},
    "servers": {"configuration"},
    "tls": {"configuration"},
    "supervisor": {"configuration", "first_process", "nginx", "servers", "tls"},
    "discovery": set(),
    "request": {"discovery"},
    "worker": {"discovery", "request"},
    "launch": {"worker"},
    "debug": {"discovery", "request", "worker"},
}
# The entries import the rooms of the commands that they run; debug mode has a PID 1 of its own.
EXCEPTIONS = {
    "__main__.py": set(MAY_IMPORT),
    "command.py": {"configuration", "discovery", "first_process"},
    "debug/reloader.py": {"configuration", "first_process", "tls"},
}
# What a module needs beside the standard library: packages of the room's own process.
PACKAGES = {
    "nginx": {"jinja2"},
    "debug": {"werkzeug", "debugpy"},
    "discovery": {"flask", "click", "dotenv"},
    "worker": {"gevent", "uwsgi"},
    "launch": {"flask", "gunicorn"},
}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """The full name of everything that a module imports, also inside its functions."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room of an imported name of ours: docker_flask.worker.guard is in the room worker."""
    parts = name.split(".")
    return parts[1] if (PACKAGE / parts[1]).is_dir() else GROUND


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = module.split("/")[0] if "/" in module else GROUND
    allowed = {GROUND, room, *MAY_IMPORT[room], *EXCEPTIONS.get(module, ())}
    names = set(imported(module))
    ours = {name for name in names if name.split(".")[0] == "docker_flask"}
    assert {room_of(name) for name in ours} <= allowed
    others = {name.split(".")[0] for name in names - ours}
    assert others - set(sys.stdlib_module_names) <= PACKAGES.get(room, set())
