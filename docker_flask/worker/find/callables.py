"""From a module to its WSGI callable."""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from operator import attrgetter
from types import ModuleType
from typing import Any

from docker_flask.worker.find.candidates import Candidate, NotFound, quoted
from docker_flask.worker.find.module_text import CALLABLES, FACTORIES, not_run


@dataclass(frozen=True)
class FoundApp:
    """A WSGI callable, its name as `module:callable`, and the reason for the choice.

    note: a line for the log about what its module does only as a program, or "".
    """

    application: Any
    name: str
    reason: str
    note: str = ""


LACKS = f"none of {quoted(CALLABLES + FACTORIES)} (a factory needs no arguments)"


def import_module(candidate: Candidate) -> ModuleType:
    """Import a candidate; raises NotFound if there is no such module."""
    folders = list(dict.fromkeys(str(folder) for folder in candidate.folders))
    sys.path[:] = [*folders, *(path for path in sys.path if path not in folders)]
    if candidate.file:  # does not end in .py
        loader = SourceFileLoader(candidate.module, str(candidate.file))
        spec: Any = importlib.util.spec_from_loader(candidate.module, loader)
        module = sys.modules[candidate.module] = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module
    try:
        __import__(candidate.module)  # import_module() would take ./hello for a relative import
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{candidate.module}.".startswith(f"{missing}."):  # not a module that it imports
            raise NotFound(f"no module named {missing!r} in {quoted(folders)}") from None
        raise
    return sys.modules[candidate.module]


def pick(module: ModuleType, callables: Iterable[str] = CALLABLES) -> str | None:
    """The name of the application in a module, as an expression; None if there is none."""
    factories = []
    for name in callables:
        value = getattr(module, name, None)
        if _is_factory(value):
            factories.append(name)
        elif callable(value):
            return name
    instances = {id(value): name for name, value in vars(module).items() if is_flask(value)}
    if len(instances) > 1:
        names = quoted(instances.values())
        raise NotFound(f"several Flask applications in {module.__name__}: {names}")
    if instances:
        return next(iter(instances.values()))
    for name in FACTORIES:
        factory = getattr(module, name, None)
        if callable(factory) and _accepts(factory):
            factories.append(name)
    return f"{factories[0]}()" if factories else None


def is_flask(value: Any) -> bool:
    """True for an instance of Flask; does not import Flask, which may not be installed."""
    return any(
        kind.__module__ == "flask.app" and kind.__name__ == "Flask" for kind in type(value).__mro__
    )


def _accepts(function: Any, *arguments: Any) -> bool:
    """True if a call with these arguments is possible, as far as the signature says."""
    try:
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
    except TypeError:
        return False
    except Exception:  # not every callable has a signature
        return True
    return True


def _is_factory(value: Any) -> bool:
    """True for a function that returns the application when called.

    A function with `*args`, as a decorator makes it, is an application, unless it has the name of
    a factory.
    """
    if not inspect.isfunction(value) or not _accepts(value):
        return False
    return not value.__code__.co_flags & inspect.CO_VARARGS or value.__name__ in FACTORIES


def resolve(module: ModuleType, expression: str, reason: str) -> FoundApp:
    """The WSGI callable that an expression means in a module; a factory is called."""
    application = _evaluate(module, expression)
    if not expression.endswith(")") and _is_factory(application):
        application, expression = application(), f"{expression}()"
    name = f"{module.__name__}:{expression}"
    if not callable(application):
        raise NotFound(f"{name} is no WSGI callable but {type(application).__name__}")
    if not _accepts(application, {}, print):
        if _accepts(application, {}, print, print):
            raise NotFound(
                f"{name} is an ASGI application: add a2wsgi to requirements.txt, and "
                f"wsgi = a2wsgi.ASGIMiddleware({expression}) to the module"
            )
        raise NotFound(f"{name} does not take environ and start_response, as a WSGI callable does")
    return FoundApp(application, name, reason, not_run(module))


def _evaluate(module: ModuleType, expression: str) -> Any:
    """The value of `name`, `name.attribute` or `factory(literal, key=literal)` in a module."""
    try:
        node: ast.expr = ast.parse(expression, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = ast.unparse(call.func)
        value = attrgetter(name)(module)
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
    except SyntaxError:
        raise NotFound(f"{expression!r} is neither a name nor a call") from None
    except AttributeError:
        raise NotFound(f"no {name!r} in {module.__name__}") from None
    except ValueError:
        raise NotFound(f"the arguments in {expression!r} are not all literals") from None
    return value(*arguments, **keywords) if call is node else value
