"""What the text of a module shows of the application, without an import."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

CALLABLES = ("app", "application")
FACTORIES = ("create_app", "make_app")
# Calls that serve an application, and calls beside them that nobody misses.
_SERVES = {"run", "run_simple", "serve", "serve_forever"}
_NEEDLESS = {*_SERVES, "add_argument", "exit", "print"}
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class ModuleText:
    """What an import of a module would do, as far as its text shows.

    made: the call of Flask or of a factory by which it makes an application, or "".
    is_wsgi: it is wsgi.py, and has a usual name, whatever makes the application.
    is_factory: it has a factory, and no application.
    serves: its import would serve the application, and never end.
    is_script: its import would serve the application, or work with it.
    """

    def __init__(self, file: Path) -> None:
        tree = _parse(file)
        statements = list(_run_by_import(tree.body))
        values: dict[str, ast.expr | None] = {}  # None: imported, or a function
        factories = {*FACTORIES}
        for one in statements:
            if isinstance(one, ast.ImportFrom) and one.module != "flask":
                names = {alias.asname or alias.name: alias.name for alias in one.names}
                values |= dict.fromkeys(names)
                factories |= {name for name, source in names.items() if source in FACTORIES}
            elif isinstance(one, ast.FunctionDef):
                values[one.name] = None
            elif isinstance(one, _ASSIGNMENTS) and not isinstance(one.value, ast.Constant):
                values |= dict.fromkeys(_variables(one), one.value)
        made = {
            name: text
            for name, value in values.items()
            for _, function, text in _calls(value)
            if _makes_one(function, factories)
        }
        usual_name = not values.keys().isdisjoint(CALLABLES)
        self.made = next(iter(made.values()), "")
        self.is_wsgi = file.name == "wsgi.py" and usual_name
        has_factory = not values.keys().isdisjoint(FACTORIES)
        self.is_factory = has_factory and not (made or usual_name)
        served = {
            receiver
            for one in statements
            if isinstance(one, ast.Expr)
            for receiver, name, _ in _calls(one)
            if name in _SERVES
        }
        self.serves = not served <= made.keys()  # Flask ignores its own `run()` here
        self.is_script = self.serves or (not served and _only_works(tree))


def _only_works(tree: ast.Module) -> bool:
    """True if an import would work with an application that nothing in the module serves."""
    done = [one for one in _run_by_import(tree.body) if not isinstance(one, _DEFINITIONS)]
    works = any(name == "app_context" for one in done for _, name, _ in _calls(one))
    return works and not any(name in _SERVES for _, name, _ in _calls(_main_block(tree)))


def not_run(module: ModuleType) -> str:
    """A line about what a module does only if it is started as a program, apart from serving."""
    file = getattr(module, "__file__", None) or ""
    tree = _parse(Path(file), b"__main__")
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}

    def does_more(statement: ast.AST) -> bool:
        for one in ast.walk(statement):
            names = [name for _, name, _ in _calls(one)]
            if isinstance(one, ast.Expr) and names:
                function = functions.pop(names[0], None)
                if any(map(does_more, function.body)) if function else names[0] not in _NEEDLESS:
                    return True
            elif isinstance(one, _ASSIGNMENTS) and (
                not list(_variables(one)) or any(map(_makes_one, names))
            ):
                return True
        return False

    lines = [one for one in _main_block(tree).body if does_more(one)]
    if not lines:
        return ""
    first, last = lines[0].lineno, lines[-1].end_lineno
    where = f"line {first} does" if first == last else f"lines {first} to {last} do"
    return (
        f'{file}: {where} not run here, because of if __name__ == "__main__": move them above it, '
        "or into prestart.sh (docs/troubleshooting.md)"
    )


def _parse(file: Path, word: bytes = b"") -> ast.Module:
    """The text of a module; an empty module if Python can't read it, or a word is not in it."""
    try:
        text = file.read_bytes()
        return ast.parse(text if word in text else b"")  # 1,000 lines take 20 ms
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _is_main(statement: ast.stmt) -> bool:
    main = ("__name__ == '__main__'", "'__main__' == __name__")
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in main


def _main_block(tree: ast.Module) -> ast.Module:
    """The statements that run only if the module is started as a program."""
    blocks = (getattr(one, "body", []) for one in tree.body if _is_main(one))
    return ast.Module([one for block in blocks for one in block], [])


def _run_by_import(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if _is_main(statement):
            continue
        yield statement
        if not isinstance(statement, _DEFINITIONS):
            for name in ("body", "handlers", "orelse", "finalbody"):
                yield from _run_by_import(getattr(statement, name, ()))


def _calls(node: ast.AST | None) -> Iterator[tuple[str, str, str]]:
    """The calls in a piece of code: the receiver of each, the function's name, the text."""
    for call in ast.walk(node) if node else ():
        if isinstance(call, ast.Call):
            receiver, _, name = ast.unparse(call.func).rpartition(".")
            yield receiver, name, ast.unparse(call)


def _variables(assignment: ast.stmt) -> Iterator[str]:
    """The variables that an assignment sets; none if it sets an attribute or an item."""
    for node in ast.walk(assignment):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _makes_one(function: str, factories: Iterable[str] = FACTORIES) -> bool:
    return function in factories or function.endswith("Flask")
