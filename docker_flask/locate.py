"""Which WSGI callable to run, found the same way in both modes and for every server.

Runs in the application's own Python, so it uses the standard library only.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("app", "wsgi", "main")
CALLABLES = ("app", "application")
FACTORIES = ("create_app", "make_app")
# A package counts as a candidate when it defines one of the names above at its top level.
_DEFINES = re.compile(
    rf"^(?:(?:{'|'.join(CALLABLES)})\b\s*[:=]|def\s+(?:{'|'.join(CALLABLES + FACTORIES)})\b"
    rf"|from\s.+\bimport\b.*\b(?:{'|'.join(CALLABLES + FACTORIES)})\b)",
    re.MULTILINE,
)
_RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)
SETTING = "set APP_MODULE=package.module:callable"


class NotFound(Exception):
    """No callable, or several that are equally likely; the message says what was looked for."""


@dataclass(frozen=True)
class Candidate:
    """A module that may hold the application, and the folders it is imported from."""

    module: str
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """A WSGI callable, its name as `module:callable`, and why it was taken."""

    application: Any
    name: str
    reason: str


def load(root: Path, app_module: str | None = None) -> Found:
    """Import the application that lies in `root`.

    app_module: the APP_MODULE setting. Raises NotFound, or whatever importing the application
    raises.
    """
    if app_module:
        return _load_named(root, app_module)
    candidates = list(_candidates(root))
    for candidate in candidates:
        module = _import(candidate)
        name = _pick(module)
        if name:
            return _found(module, name, f"the usual names in {root}")
    looked = ", ".join(candidate.module for candidate in candidates)
    without = f"{looked} hold" if looked else f"{_list(f'{m}.py' for m in MODULES)} are not"
    raise NotFound(
        f"no WSGI callable in {root}: {without} "
        + (f"none of {_list(CALLABLES + FACTORIES)}" if looked else "there, and no package")
        + f"; {SETTING}"
    )


def _load_named(root: Path, app_module: str) -> Found:
    name, _, expression = app_module.partition(":")
    module = _import(Candidate(name, _folders(root)))
    if not expression:
        expression = _pick(module) or ""
        if not expression:
            raise NotFound(
                f"no WSGI callable in APP_MODULE={app_module!r}: none of "
                f"{_list(CALLABLES + FACTORIES)}; {SETTING}"
            )
    return _found(module, expression, "APP_MODULE")


def _candidates(root: Path) -> Iterable[Candidate]:
    """Modules in the order of how usual they are; nothing is imported yet."""
    is_package = _is_package(root)
    if is_package:
        yield from _in_package(root.name, root, (root.parent, root))
    for base in (root, root / "src"):
        for name in MODULES:
            # In this order, because Python itself prefers the package to the module.
            if (base / name / "__init__.py").is_file():
                yield from _in_package(name, base / name, _folders(root))
            elif (base / f"{name}.py").is_file() and not (is_package and base == root):
                yield Candidate(name, _folders(root))
            elif (base / name / "main.py").is_file():
                yield Candidate(f"{name}.main", _folders(root))
    yield from _other_packages(root)


def _is_package(root: Path) -> bool:
    """True if the folder is itself the package, as where tutorials write `from app import app`.

    An empty __init__.py beside an app.py does not make it one, unless that imports relatively.
    """
    init = root / "__init__.py"
    if not init.is_file():
        return False
    modules = [root / f"{name}.py" for name in MODULES if (root / f"{name}.py").is_file()]
    return (
        not modules
        or bool(_DEFINES.search(init.read_text(errors="replace")))
        or any(_RELATIVE.search(module.read_text(errors="replace")) for module in modules)
    )


def _in_package(name: str, folder: Path, folders: tuple[Path, ...]) -> Iterable[Candidate]:
    yield Candidate(name, folders)
    for module in MODULES:
        if (folder / f"{module}.py").is_file():
            yield Candidate(f"{name}.{module}", folders)


def _other_packages(root: Path) -> Iterable[Candidate]:
    """The one package of another name that defines an application at its top level."""
    packages = [
        init.parent
        for base in (root, root / "src")
        for init in sorted(base.glob("*/__init__.py"))
        if init.parent.name not in MODULES and _DEFINES.search(init.read_text(errors="replace"))
    ]
    if len(packages) > 1:
        names = _list(package.name for package in packages)
        raise NotFound(f"several packages in {root} look like the application: {names}; {SETTING}")
    for package in packages:
        yield Candidate(package.name, _folders(root))


def _folders(root: Path) -> tuple[Path, ...]:
    source = root / "src"
    return (root, source) if source.is_dir() else (root,)


def _import(candidate: Candidate) -> ModuleType:
    folders = [str(folder) for folder in candidate.folders]
    sys.path[:] = [*folders, *(path for path in sys.path if path not in folders)]
    return importlib.import_module(candidate.module)


def _pick(module: ModuleType) -> str | None:
    """The name of the application in a module, as an expression; None if there is none."""
    for name in CALLABLES:
        if callable(getattr(module, name, None)):
            return name
    instances = [name for name, value in vars(module).items() if _is_flask(value)]
    if len(instances) > 1:
        raise NotFound(
            f"several Flask applications in {module.__name__}: {_list(instances)}; {SETTING}"
        )
    if instances:
        return instances[0]
    for name in FACTORIES:
        factory = getattr(module, name, None)
        if callable(factory) and _takes_nothing(factory):
            return f"{name}()"
    return None


def _is_flask(value: Any) -> bool:
    """True for an instance of Flask, told by name: the application may not use Flask at all."""
    return any(
        kind.__module__ == "flask.app" and kind.__name__ == "Flask" for kind in type(value).__mro__
    )


def _takes_nothing(factory: Any) -> bool:
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError):
        return False
    return True


def _found(module: ModuleType, expression: str, reason: str) -> Found:
    application = _evaluate(module, expression)
    name = f"{module.__name__}:{expression}"
    if not callable(application):
        raise NotFound(f"{name} is no WSGI callable but {type(application).__name__}; {SETTING}")
    return Found(application, name, reason)


def _evaluate(module: ModuleType, expression: str) -> Any:
    """The value of `name`, `name.attribute` or `factory(literal, key=literal)` in a module."""
    node: ast.expr = ast.parse(expression, mode="eval").body
    call = node if isinstance(node, ast.Call) else None
    value: Any = module
    for part in ast.unparse(call.func if call else node).split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise NotFound(f"no {part!r} in {module.__name__}; {SETTING}") from None
    if call:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
        return value(*arguments, **keywords)
    return value


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
