"""Modules that may hold the application: those that a setting names, and the usual ones.

Nothing is imported here.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MODULES = ("app", "wsgi", "main")
CALLABLES = ("app", "application")
FACTORIES = ("create_app", "make_app")
_MAKES_ONE = (
    rf"(?:{'|'.join(CALLABLES)})\b\s*[:=]|def\s+(?:{'|'.join(CALLABLES + FACTORIES)})\b"
    r"|\w+\s*=\s*(?:flask\.)?Flask\("
)
# A module of any other name is a candidate if it makes an application at its top level; a package
# also if it imports one.
_MAKES = re.compile(rf"^(?:{_MAKES_ONE})", re.MULTILINE)
_DEFINES = re.compile(
    rf"^(?:{_MAKES_ONE}|from\s.+\bimport\b.*\b(?:{'|'.join(CALLABLES + FACTORIES)})\b)",
    re.MULTILINE,
)
# Names of other modules and packages that may be the application, whatever they contain.
_OTHER = re.compile(
    rf"(?!(?:{'|'.join(MODULES)}|test_.*|.*_test|conftest|setup|tests?|__init__)$)[^\W\d]\w*"
)
_RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)


class NotFound(Exception):
    """No callable, or several that are equally likely; the message names what was searched."""


@dataclass(frozen=True)
class Candidate:
    """A module that may hold the application, and the folders for its import.

    file: the module's file, if the module's name does not lead to it.
    """

    module: str
    folders: tuple[Path, ...]
    file: Path | None = None


def by_name(root: Path, module: str) -> Candidate:
    """A module by its dotted name, which may start with the name of `root` itself."""
    folders = folders_of(root)
    return Candidate(module, (root.parent, *folders) if _is_package(root) else folders)


def by_path(root: Path, path: str) -> Candidate:
    """A module as Flask reads FLASK_APP: by its file, by its folder or by its dotted name."""
    target = Path(os.path.abspath(root / path))
    if target.is_file() and target.suffix != ".py":  # as app.wsgi
        name = re.sub(r"\W", "_", target.name)
        return Candidate(name, (target.parent, *folders_of(root)), target)
    module = target.with_name(target.name.removesuffix(".py"))
    if not (target.exists() or module.with_name(f"{module.name}.py").is_file()):
        return by_name(root, path.removesuffix(".py"))
    if module.name == "__init__":
        module = module.parent
    names, folder = [module.name], module.parent
    while (folder / "__init__.py").is_file() and (folder != root or _is_package(root)):
        names.insert(0, folder.name)
        folder = folder.parent
    return Candidate(".".join(names), (folder, *folders_of(root)))


def usual(root: Path) -> Iterable[Candidate]:
    """The usual modules, the most usual first."""
    is_package = _is_package(root)
    if is_package:
        yield from _in_package(root.name, root, (root.parent, root))
    for base in (root, root / "src"):
        for name in MODULES:
            # Python itself prefers a package to a module of the same name.
            if (base / name / "__init__.py").is_file():
                yield from _in_package(name, base / name, folders_of(root))
            elif (base / f"{name}.py").is_file() and not (is_package and base == root):
                yield Candidate(name, folders_of(root))
            else:
                yield from _in_folder(name, base / name, folders_of(root))
    yield from _others(root)


def _is_package(root: Path) -> bool:
    """True if the folder is a package itself, as in tutorials with `from app import app`.

    With an empty __init__.py beside an app.py, the folder is no package, unless app.py has a
    relative import.
    """
    init = root / "__init__.py"
    if not init.is_file():
        return False
    modules = [file for name in MODULES if (file := root / f"{name}.py").is_file()]
    texts = [file.read_text(errors="replace") for file in modules]
    return not texts or _contains(init, _DEFINES) or any(map(_RELATIVE.search, texts))


def _in_package(name: str, folder: Path, folders: tuple[Path, ...]) -> Iterable[Candidate]:
    yield Candidate(name, folders)
    yield from _in_folder(name, folder, folders)


def _in_folder(name: str, folder: Path, folders: tuple[Path, ...]) -> Iterable[Candidate]:
    for module in MODULES:
        if (folder / f"{module}.py").is_file():
            yield Candidate(f"{name}.{module}", folders)


def _others(root: Path) -> Iterable[Candidate]:
    """The package or module of another name that makes an application, itself or in a module."""

    def matching(pattern: str) -> list[Path]:
        files = (file for base in folders_of(root) for file in sorted(base.glob(pattern)))
        places = (file.parent if file.name == "__init__.py" else file for file in files)
        return [place for place in places if _OTHER.fullmatch(place.stem)]

    def folders() -> list[Path]:
        files = (file for name in MODULES for file in sorted(root.glob(f"*/{name}.py")))
        usual = {*packages, root / "src"}
        others = (file for file in files if file.parent not in usual)
        return [it for it in others if _OTHER.fullmatch(it.parent.name) and _contains(it, _MAKES)]

    packages = matching("*/__init__.py")
    for likely in (
        [folder for folder in packages if _contains(folder / "__init__.py", _DEFINES)],
        [
            folder
            for folder in packages
            if any(_contains(folder / f"{name}.py", _DEFINES) for name in MODULES)
        ],
        [file for file in matching("*.py") if _contains(file, _MAKES)],
        folders(),
    ):
        if len(likely) > 1:
            names = quoted(str(place.relative_to(root)).removesuffix(".py") for place in likely)
            raise NotFound(f"several in {root} look like the application: {names}")
        for place in likely:
            if place.parent in folders_of(root):
                yield from _in_package(place.stem, place, folders_of(root))
            else:  # as backend/app.py, whose modules find each other beside it
                yield by_path(root, str(place))


def _contains(file: Path, pattern: re.Pattern[str]) -> bool:
    return file.is_file() and bool(pattern.search(file.read_text("utf-8-sig", "replace")))


def folders_of(root: Path) -> tuple[Path, ...]:
    source = root / "src"
    return (root, source) if source.is_dir() else (root,)


def quoted(names: Iterable[str]) -> str:
    """Names in a message: `a`, `b`."""
    return ", ".join(f"`{name}`" for name in names)
