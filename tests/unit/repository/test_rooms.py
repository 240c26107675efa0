"""The rooms of docker_flask: who may import whom, and which packages each process needs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_flask.__main__ import PROGRAMS

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "docker_flask"
# Each room, and the rooms that it may import.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__.py": {"cli", "debug", "shared", "supervisor"},
    "shared": set(),
    "servers": {"shared"},
    "plan": {"servers", "shared"},
    "supervisor": {"plan", "servers", "shared"},
    "worker": {"servers", "shared"},
    "cli": {"plan", "worker", "shared"},
    "debug": {"plan", "shared", "worker"},
}
# The folders of worker/, and which of them each may import.
OF_WORKER: dict[str, set[str]] = {
    "hooks": set(),
    "find": {"hooks"},
    "middleware": {"hooks"},
    "server": {"find", "hooks", "middleware"},
}
# What a module needs beside the standard library: packages of the room's own process.
PACKAGES = {
    "cli": {"flask", "click"},
    "debug": {"werkzeug", "debugpy"},
    "plan": {"jinja2"},
    "servers/gunicorn": {"gunicorn"},
    "servers/uwsgi": {"flask"},
    "worker/find": {"dotenv", "gevent"},
    "worker/server": {"gevent", "opentelemetry", "prometheus_client", "uwsgi"},
}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """The full name of everything that a module imports, also inside its functions."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    if module == "__main__.py":
        yield from (f"docker_flask.{program}" for program, _ in PROGRAMS.values())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = module.split("/")[0]
    allowed = {room, *MAY_IMPORT.get(room, ())}
    names = set(imported(module))
    ours = {name for name in names if name.split(".")[0] == "docker_flask"}
    assert {name.split(".")[1] for name in ours} <= allowed
    others = {name.split(".")[0] for name in names - ours} - set(sys.stdlib_module_names)
    assert others <= PACKAGES.get(room, PACKAGES.get(module.rpartition("/")[0], set()))


@pytest.mark.parametrize("folder", OF_WORKER)
def test_arrows_within_the_worker_go_one_way(folder: str) -> None:
    modules = [module for module in MODULES if module.startswith(f"worker/{folder}/")]
    names = [name.split(".") for module in modules for name in imported(module)]
    found = {name[2] for name in names if name[:2] == ["docker_flask", "worker"]}
    assert found <= {folder, *OF_WORKER[folder]}


def test_no_module_is_outside_of_a_room() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
