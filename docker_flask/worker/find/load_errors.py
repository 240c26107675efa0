"""What the log says if the application can't be loaded: the traceback, and what to do."""

import contextlib
import os
import re
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path

from docker_flask.shared.paths import HOME
from docker_flask.worker.find.candidates import NotFound, folders_of, quoted
from docker_flask.worker.find.known_errors import GONE, LIBRARIES, MODULES, OWN_SERVERS
from docker_flask.worker.hooks import permission_hints

# Frames in front of the application's.
_IN_FRONT = (os.path.abspath(f"{__file__}/../../.."), "<frozen importlib.")
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_NAMES = (
    r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'",
    r"'(?P<module>[\w.]+)'(?: object)? has no attribute '(?P<name>\w+)'",
)
_LIBRARY = r"(lib[\w.+-]+): cannot open shared object file|failed to find (libmagic)"


def report(error: BaseException) -> str:
    """The traceback from the application's first frame on, and a line with what to do."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename.startswith(_IN_FRONT):
        trace = trace.tb_next
    error.with_traceback(trace)
    with contextlib.suppress(Exception):  # the traceback is what matters
        # A name that a setting has is no missing package.
        chain = [error] if isinstance(error, NotFound) else permission_hints.chain(error)
        hints = (hint(one) for hint in _HINTS for one in chain)
        if hint := permission_hints.of_error(error, again=True) or next(filter(None, hints), ""):
            error.add_note(f"docker-flask: {hint}")  # also on the page of debug mode
    if isinstance(error, NotFound):
        return "\n".join([str(error), *getattr(error, "__notes__", ())])
    lines = [] if trace else ["Traceback (most recent call last):\n"]
    lines += traceback.format_exception(error)
    return "".join(lines).rstrip()


def _hidden(error: BaseException) -> str:
    """Which file of the application is imported in place of a module of Python."""
    names = {Path(frame.filename).stem for frame in traceback.extract_tb(error.__traceback__)}
    if isinstance(error, ImportError | AttributeError):
        names |= {*re.findall(r"'(\w+)", str(error))}
    own = [str(folder) for folder in folders_of(Path.cwd())]
    for name in sorted(names & sys.stdlib_module_names):
        if file := getattr(PathFinder.find_spec(name, own), "origin", None):
            return f"{file} has the name of a module of Python: rename the file"
    return ""


def _missing(error: BaseException) -> str:
    """What to do about a module that is not there."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name, root = error.name.partition(".")[0], Path.cwd()
    if name in MODULES:
        add = f"add {MODULES[name]} to requirements.txt and build the image again"
        return f"{_python()} no longer has {name}: {add if MODULES[name] else 'no package has it'}"
    if PathFinder.find_spec(name):
        return f"{name} has no module {error.name}: a file is missing, or another version has it"
    for path in root.glob(f"*/{name}.py"):
        return f"set PYTHONPATH={path.parent}, so that {path} can be imported as {name}"
    files = [*root.glob("requirements*.txt"), *root.glob("*.lock"), Path(HOME, "requirements.txt")]
    line = re.compile(rf'^(name = )?"?{re.sub("[-_]", "[-_.]", name)}\b', re.I | re.M)
    for file in filter(Path.is_file, files):
        if line.search(file.read_text(errors="replace")):
            what = "build the image again, or set INSTALL_ON_START=1"
            return f"{name} is not installed, though {file} names it: {what}"
    return (
        f"{name} is not installed: add its package, which may have another name, to "
        f"requirements.txt and build the image again (seen: {', '.join(map(str, files))}); if "
        f"{name}.py is a file of yours, it is not in {root}"
    )


def _gone(error: BaseException) -> str:
    """Which name a package no longer has, and which versions have it."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    for pattern in _NAMES:
        if found := re.search(pattern, str(error)):
            name = f"{found['module']}.{found['name']}"
    module, _, last = name.rpartition(".")
    user = _package(error)
    advice = [f"take a newer version of {user}"] if user else []
    for gone in GONE:
        if re.fullmatch(gone.names, name):
            # A package that is too old for another one is there already.
            new = [line for line in gone.lines if line.partition("<")[0].lower() != user]
            advice = [*(advice or [gone.instead]), f"add to requirements.txt: {quoted(new)}"]
            todo = ", or ".join(filter(None, advice))
            return f"{module or 'setuptools'} no longer has {last}: {todo}"
    if user and name.partition(".")[0] in sys.stdlib_module_names:
        return f"{_python()} no longer has {name}: {advice[0]}"
    return ""


def _package(error: BaseException) -> str:
    """The package whose code has raised an exception; empty for the application's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    file = next((frame.filename for frame in reversed(frames) if frame.filename[0] != "<"), "")
    return file.partition("/site-packages/")[2].partition("/")[0].removesuffix(".py")


def _python() -> str:
    return "Python {}.{}".format(*sys.version_info)


def _library(error: BaseException) -> str:
    """Which package of Debian has a library that is not there."""
    if not (found := re.search(_LIBRARY, str(error))):
        return ""
    name = next(filter(None, found.groups()))
    package = LIBRARIES.get(re.sub(r"\.so.*|-\d$", "", name), "")
    return (
        f"{name} is not in the image: add {package or 'its Debian package'} to requirements_os.txt "
        "and build the image again"
    )


def _own_server(error: BaseException) -> str:
    """How to run a program that is no WSGI application."""
    found = next((name for name in OWN_SERVERS if name in sys.modules), "")
    if not found or "flask" in sys.modules or not isinstance(error, NotFound):
        return ""
    options, command = OWN_SERVERS[found]
    files = (getattr(module, "__file__", "") or "" for module in list(sys.modules.values()))
    file = next((file for file in files if Path.cwd() in Path(file).parents), "FILE")
    return (
        f"{file} is a program with {found}, which has its own server, and no WSGI application: "
        f"docker run {options} IMAGE run {command} {os.path.relpath(file)}"
    )


def _ended(error: BaseException) -> str:
    """Which line of which file has ended the application."""
    if not isinstance(error, SystemExit) or isinstance(error.code, str):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", _STANDARD_LIBRARY))]
    before = error.__context__
    reason = f" after {type(before).__name__}: {before}".partition("\n")[0] if before else ""
    return f"{own[-1].filename}, line {own[-1].lineno}, ended the application{reason}"


# The first sentence that one of them has for an exception, or for one behind it.
_HINTS = (_hidden, _gone, _missing, _library, _own_server, _ended)
