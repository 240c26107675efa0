"""Modules that may hold the application: those that a setting names, and the usual ones.

Nothing is imported here.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from docker_flask.worker.find.module_text import CALLABLES, FACTORIES, ModuleText

MODULES = ("app", "wsgi", "main")
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
_NAMES_FACTORY = re.compile(rf"\b(?:{'|'.join(FACTORIES)})\b")


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
    """The usual modules, the most usual first.

    An application that a module makes comes before a factory that the image would call: the module
    may name a configuration, and the defaults of a factory are often for development.
    """
    for find in (_named, _others):
        for candidate in find(root):
            file = _file_of(candidate)
            if file and _contains(file, _NAMES_FACTORY) and ModuleText(file).is_factory:
                yield from _callers(root, candidate, file)
            yield candidate


def _named(root: Path) -> Iterable[Candidate]:
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


def _callers(root: Path, factory: Candidate, file: Path) -> Iterable[Candidate]:
    """The modules beside a factory that make an application when they are imported.

    As wsgi.py, run.py, manage.py or autoapp.py do. Their text decides: a script that empties a
    database makes an application, too, so no module is imported to look. file: the factory's.
    """
    named, folders = list(_named(root)), folders_of(root)
    if (file.parent / "__init__.py").is_file():
        named += _in_folder(factory.module.partition(".")[0], file.parent, factory.folders)
    else:
        folders = (*folders, file.parent)
    for candidate in named:
        path = _file_of(candidate)
        text = ModuleText(path) if path and path != file else None
        if text and (text.is_wsgi or (text.made and not text.serves)):
            yield candidate
    paths = dict.fromkeys(path for folder in folders for path in sorted(folder.glob("*.py")))
    others = (path for path in paths if path != file and _OTHER.fullmatch(path.stem))
    texts = {path: ModuleText(path) for path in others if path.stem != "asgi"}
    calls = {path: text.made for path, text in texts.items() if text.made and not text.is_script}
    if len(calls) > 1:
        if all(call.endswith("()") for call in calls.values()):
            return  # all make what the image makes itself
        raise _several(root, calls)
    for path in calls:
        yield by_path(root, str(path))


def _several(root: Path, places: Iterable[Path]) -> NotFound:
    names = quoted(str(place.relative_to(root)).removesuffix(".py") for place in places)
    return NotFound(f"several in {root} look like the application: {names}")


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
        _without_factories([file for file in matching("*.py") if _contains(file, _MAKES)]),
        _without_factories(folders()),
    ):
        if len(likely) > 1:
            raise _several(root, likely)
        for place in likely:
            if place.parent in folders_of(root):
                yield from _in_package(place.stem, place, folders_of(root))
            else:  # as backend/app.py, whose modules find each other beside it
                yield by_path(root, str(place))


def _without_factories(files: list[Path]) -> list[Path]:
    """The modules without those that only have a factory, unless a script is left."""
    texts = {file: ModuleText(file) for file in files} if len(files) > 1 else {}
    others = [file for file, text in texts.items() if not text.is_factory]
    return files if any(texts[file].is_script for file in others) else others or files


def _contains(file: Path, pattern: re.Pattern[str]) -> bool:
    return file.is_file() and bool(pattern.search(file.read_text("utf-8-sig", "replace")))


def folders_of(root: Path) -> tuple[Path, ...]:
    source = root / "src"
    return (root, source) if source.is_dir() else (root,)


def quoted(names: Iterable[str]) -> str:
    """Names in a message: `a`, `b`."""
    return ", ".join(f"`{name}`" for name in names)


def _file_of(candidate: Candidate) -> Path | None:
    """The file that an import of a candidate would run."""
    for folder in candidate.folders:
        place = folder.joinpath(*candidate.module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None
