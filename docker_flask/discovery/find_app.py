"""Which WSGI callable to run, found the same way in both modes and for every server.

Runs in the application's own Python, so it uses the standard library only.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from docker_flask import uwsgi_ini
from docker_flask.discovery import flaskenv

MODULES = ("app", "wsgi", "main")
CALLABLES = ("app", "application")
FACTORIES = ("create_app", "make_app")
SETTING = "set APP_MODULE=package.module:callable"
# A package counts as a candidate when it defines one of the names above at its top level.
_DEFINES = re.compile(
    rf"^(?:(?:{'|'.join(CALLABLES)})\b\s*[:=]|def\s+(?:{'|'.join(CALLABLES + FACTORIES)})\b"
    rf"|from\s.+\bimport\b.*\b(?:{'|'.join(CALLABLES + FACTORIES)})\b"
    r"|\w+\s*=\s*(?:flask\.)?Flask\()",
    re.MULTILINE,
)
_RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)
# Stands in the image's own application, which images that are built on it inherit in /app.
_SAMPLE = "docker-flask's sample gives way"
# Packages that import the application without being it.
_TESTS = ("test", "tests")


class NotFound(Exception):
    """No callable, or several that are equally likely; the message says what was looked for."""


@dataclass(frozen=True)
class Candidate:
    """A module that may hold the application, and the folders it is imported from.

    file: where it lies, if its name does not tell.
    """

    module: str
    folders: tuple[Path, ...]
    file: Path | None = None


@dataclass(frozen=True)
class Named:
    """An application that somebody named: where, in which words, and what these mean.

    expression: empty if the module is to say; then it is asked for the names of `callables` first.
    """

    source: str
    words: str
    candidate: Candidate
    expression: str
    callables: tuple[str, ...] = CALLABLES


@dataclass(frozen=True)
class Found:
    """A WSGI callable, its name as `module:callable`, and why it was taken."""

    application: Any
    name: str
    reason: str


def load(root: Path, app_module: str = "", ini: str = "") -> Found:
    """Import the application that lies in `root`.

    APP_MODULE says which, else FLASK_APP, else uwsgi.ini, else the usual names do. The variables
    of .flaskenv and .env are set before. Raises NotFound, or whatever importing the application
    raises.

    app_module, ini: the settings APP_MODULE and UWSGI_INI, if they come from the supervisor.
    """
    for variable in ("APP_MODULE", "FLASK_APP"):
        if not os.environ.get(variable, "").strip():
            os.environ.pop(variable, None)  # set but empty counts as not set
    files = flaskenv.load(root)
    named = _from_variables(root, files.variables, app_module) or _from_uwsgi_ini(
        root, ini or os.environ.get("UWSGI_INI", "")
    )
    if named:
        return _load_named(named)
    unread = ", ".join(map(str, files.unread))
    return _load_usual(root, f"; {unread} not read, for want of python-dotenv" if unread else "")


# --- named by somebody ---------------------------------------------------------------------


def _from_variables(root: Path, files: dict[str, Path], app_module: str) -> Named | None:
    """What APP_MODULE or FLASK_APP says; files: the file that a variable comes from, if any."""
    for variable, setting, split, find in (
        ("APP_MODULE", app_module, ":", _by_name),
        ("FLASK_APP", "", r":(?![\\/])", _by_path),
    ):
        if value := setting or os.environ.get(variable, "").strip():
            place = f" in {files[variable]}" if variable in files and not setting else ""
            where, expression = [*re.split(split, value, maxsplit=1), ""][:2]
            words = f"{variable}={value!r}{place}"
            return Named(f"{variable}{place}", words, find(root, where), expression.strip())
    return None


def _from_uwsgi_ini(root: Path, ini: str) -> Named | None:
    """What uWSGI's options `module` or `wsgi-file` say in uwsgi.ini, and those of its folders."""
    path = uwsgi_ini.find(root, ini)
    if not path:
        return None
    options = uwsgi_ini.read(path)
    last = dict(options)
    name = next((name for name in ("module", "wsgi", "wsgi-file", "file") if last.get(name)), "")
    if not name:
        return None
    base = _change_folder(root, last.get("chdir", ""), path)
    where, _, expression = last[name].partition(":")
    candidate = _by_name(base, where) if name in ("module", "wsgi") else _by_path(base, where)
    paths = (base / value for key, value in options if key in ("pythonpath", "python-path", "pp"))
    return Named(
        f"{name} in {path}",
        f"{name}={last[name]!r} in {path}",
        Candidate(candidate.module, (*paths, *candidate.folders, *_folders(root)), candidate.file),
        expression or last.get("callable", ""),
        CALLABLES[::-1],  # uWSGI itself looks for `application`
    )


def _change_folder(root: Path, chdir: str, path: Path) -> Path:
    folder = root / chdir
    try:
        os.chdir(folder)
    except OSError as error:
        reason = f"chdir={chdir!r} in {path} can't be followed: {error.strerror}"
        raise NotFound(f"{reason}; correct it, or {SETTING}") from None
    return folder


def _by_name(root: Path, module: str) -> Candidate:
    """A module by its dotted name, which may begin with `root` itself."""
    folders = _folders(root)
    return Candidate(module, (root.parent, *folders) if _is_package(root) else folders)


def _by_path(root: Path, path: str) -> Candidate:
    """A module as Flask reads FLASK_APP: by its file, by its folder or by its dotted name."""
    target = Path(os.path.abspath(root / path))
    if target.is_file() and target.suffix != ".py":  # as app.wsgi
        name = re.sub(r"\W", "_", target.name)
        return Candidate(name, (target.parent, *_folders(root)), target)
    module = target.with_name(target.name.removesuffix(".py"))
    if not (target.exists() or module.with_name(f"{module.name}.py").is_file()):
        return _by_name(root, path.removesuffix(".py"))
    if module.name == "__init__":
        module = module.parent
    names, folder = [module.name], module.parent
    while (folder / "__init__.py").is_file() and (folder != root or _is_package(root)):
        names.insert(0, folder.name)
        folder = folder.parent
    return Candidate(".".join(names), (folder, *_folders(root)))


def _load_named(named: Named) -> Found:
    try:
        module = _import(named.candidate)
        expression = named.expression or _pick(module, named.callables)
        if not expression:
            raise NotFound(f"{module.__name__} holds {_none_of([module])}")
        return _found(module, expression, named.source)
    except NotFound as error:
        hint = SETTING if named.source == "APP_MODULE" else f"correct it, or {SETTING}"
        raise NotFound(f"no WSGI callable by {named.words}: {error}; {hint}") from None


# --- by the usual names --------------------------------------------------------------------


def _load_usual(root: Path, note: str) -> Found:
    """note: what may be the reason that nobody named the application."""
    modules = []
    try:
        for candidate in _candidates(root):
            modules.append(module := _import(candidate))
            if name := _pick(module):
                return _found(module, name, f"the usual names in {root}{note}")
    except NotFound as error:
        raise NotFound(f"{error}{note}; {SETTING}") from None
    if modules:
        looked = f"{', '.join(module.__name__ for module in modules)} hold {_none_of(modules)}"
    else:
        looked = f"{_list(f'{name}.py' for name in MODULES)} are not there, and no package"
    raise NotFound(f"no WSGI callable in {root}: {looked}{note}; {SETTING}")


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
            elif _is_module(base / f"{name}.py") and not (is_package and base == root):
                yield Candidate(name, _folders(root))
            else:
                yield from _in_folder(name, base / name, _folders(root))
    yield from _other_packages(root)
    if _is_sample(root / "app.py"):
        yield Candidate("app", _folders(root))


def _is_module(file: Path) -> bool:
    return file.is_file() and not _is_sample(file)


def _is_sample(file: Path) -> bool:
    return file.is_file() and _SAMPLE in file.read_text(errors="replace")


def _is_package(root: Path) -> bool:
    """True if the folder is itself the package, as where tutorials write `from app import app`.

    An empty __init__.py beside an app.py does not make it one, unless that imports relatively.
    """
    init = root / "__init__.py"
    if not init.is_file():
        return False
    modules = [file for name in MODULES if _is_module(file := root / f"{name}.py")]
    return (
        not modules
        or bool(_DEFINES.search(init.read_text(errors="replace")))
        or any(_RELATIVE.search(module.read_text(errors="replace")) for module in modules)
    )


def _in_package(name: str, folder: Path, folders: tuple[Path, ...]) -> Iterable[Candidate]:
    yield Candidate(name, folders)
    yield from _in_folder(name, folder, folders)


def _in_folder(name: str, folder: Path, folders: tuple[Path, ...]) -> Iterable[Candidate]:
    for module in MODULES:
        if (folder / f"{module}.py").is_file():
            yield Candidate(f"{name}.{module}", folders)


def _other_packages(root: Path) -> Iterable[Candidate]:
    """The one package of another name that defines an application, itself or in a usual module."""
    packages = [
        init.parent
        for base in (root, root / "src")
        for init in sorted(base.glob("*/__init__.py"))
        if init.parent.name not in (*MODULES, *_TESTS)
    ]
    likely = [folder for folder in packages if _defines(folder, "__init__")] or [
        folder for folder in packages if any(_defines(folder, module) for module in MODULES)
    ]
    if len(likely) > 1:
        names = _list(folder.name for folder in likely)
        raise NotFound(f"several packages in {root} look like the application: {names}")
    for folder in likely:
        yield from _in_package(folder.name, folder, _folders(root))


def _defines(folder: Path, module: str) -> bool:
    file = folder / f"{module}.py"
    return file.is_file() and bool(_DEFINES.search(file.read_text(errors="replace")))


def _folders(root: Path) -> tuple[Path, ...]:
    source = root / "src"
    if not source.is_dir():
        return (root,)
    return (source, root) if _is_sample(root / "app.py") else (root, source)


# --- from a module to its callable ---------------------------------------------------------


def _import(candidate: Candidate) -> ModuleType:
    folders = list(dict.fromkeys(str(folder) for folder in candidate.folders))
    sys.path[:] = [*folders, *(path for path in sys.path if path not in folders)]
    if candidate.file:
        return _import_file(candidate.module, candidate.file)
    _uncover(candidate)
    try:
        __import__(candidate.module)  # import_module() would take ./hello for a relative import
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{candidate.module}.".startswith(f"{missing}."):  # not one that the module imports
            raise NotFound(f"no module named {missing!r} in {_list(folders)}") from None
        raise
    return sys.modules[candidate.module]


def _uncover(candidate: Candidate) -> None:
    """Let `app.main` be found in a folder `app` without __init__.py, which the sample hides."""
    package, _, submodule = candidate.module.partition(".")
    spec = importlib.util.find_spec(package) if submodule and package else None
    if spec and spec.origin and _is_sample(Path(spec.origin)):
        module = sys.modules[package] = ModuleType(package)
        module.__path__ = [str(folder / package) for folder in candidate.folders]


def _import_file(name: str, file: Path) -> ModuleType:
    """A module whose file does not end in .py."""
    loader = SourceFileLoader(name, str(file))
    spec = ModuleSpec(name, loader, origin=str(file))
    spec.has_location = True  # Flask looks for templates beside the file
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _pick(module: ModuleType, callables: Iterable[str] = CALLABLES) -> str | None:
    """The name of the application in a module, as an expression; None if there is none."""
    for name in callables:
        if callable(getattr(module, name, None)):
            return name
    instances = {id(value): name for name, value in vars(module).items() if is_flask(value)}
    if len(instances) > 1:
        names = _list(instances.values())
        raise NotFound(f"several Flask applications in {module.__name__}: {names}")
    if instances:
        return next(iter(instances.values()))
    for name in FACTORIES:
        factory = getattr(module, name, None)
        if callable(factory) and _takes_nothing(factory):
            return f"{name}()"
    return None


def _none_of(modules: Iterable[ModuleType]) -> str:
    """What these modules lack, in words."""
    wanting = ", ".join(
        f"`{name}` in {module.__name__} wants arguments"
        for module in modules
        for name in FACTORIES
        if callable(getattr(module, name, None))
    )
    return f"none of {_list(CALLABLES + FACTORIES)}" + (f" ({wanting})" if wanting else "")


def is_flask(value: Any) -> bool:
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


def _is_factory(value: Any) -> bool:
    """True for a function that wants a call to return the application.

    One that takes anything, as a decorator's does, is an application, if not called as factories
    are.
    """
    if not inspect.isroutine(value) or not _takes_nothing(value):
        return False
    kinds = {parameter.kind for parameter in inspect.signature(value).parameters.values()}
    return inspect.Parameter.VAR_POSITIONAL not in kinds or value.__name__ in FACTORIES


def _takes_a_request(application: Any) -> bool:
    """False for what can't be called with environ and start_response, such as an ASGI callable."""
    try:
        signature = inspect.signature(application, follow_wrapped=False)
    except Exception:  # not every callable tells
        return True
    try:
        signature.bind({}, print)
    except TypeError:
        return False
    return True


def _found(module: ModuleType, expression: str, reason: str) -> Found:
    application = _evaluate(module, expression)
    if not expression.endswith(")") and _is_factory(application):
        application, expression = application(), f"{expression}()"
    name = f"{module.__name__}:{expression}"
    if not callable(application):
        raise NotFound(f"{name} is no WSGI callable but {type(application).__name__}")
    if not _takes_a_request(application):
        raise NotFound(f"{name} does not take environ and start_response, as a WSGI callable does")
    return Found(application, name, reason)


def _evaluate(module: ModuleType, expression: str) -> Any:
    """The value of `name`, `name.attribute` or `factory(literal, key=literal)` in a module."""
    try:
        node: ast.expr = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise NotFound(f"{expression!r} is neither a name nor a call") from None
    call = node if isinstance(node, ast.Call) else None
    value: Any = module
    for part in ast.unparse(call.func if call else node).split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise NotFound(f"no {part!r} in {module.__name__}") from None
    if not call:
        return value
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
    except ValueError:
        raise NotFound(f"the arguments in {expression!r} are not all literals") from None
    try:
        inspect.signature(value).bind(*arguments, **keywords)
    except TypeError as error:
        raise NotFound(f"{expression!r} can't be called: {error}") from None
    except ValueError:
        pass  # not every callable tells
    return value(*arguments, **keywords)


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
