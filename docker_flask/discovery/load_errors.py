"""What the log says if the application can't be loaded: the traceback, and what to do."""

import contextlib
import os
import re
import sys
import traceback
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path

from docker_flask.discovery import permission_hints
from docker_flask.discovery.candidates import folders_of
from docker_flask.paths import HOME

# Frames in front of the application's.
_IN_FRONT = (os.path.dirname(os.path.dirname(__file__)), "<frozen importlib.")


def report(error: BaseException) -> str:
    """The traceback from the application's first frame on, and a line with what to do."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename.startswith(_IN_FRONT):
        trace = trace.tb_next
    error.with_traceback(trace)
    with contextlib.suppress(Exception):  # the traceback is what matters
        hints = (
            _hidden(one) or _missing(one) or _outdated(one) for one in permission_hints.chain(error)
        )
        if hint := permission_hints.of_error(error) or next(filter(None, hints), ""):
            error.add_note(f"docker-flask: {hint}")  # also on the page of debug mode
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
    if name == "distutils":
        return "Python has no distutils since version 3.12: add setuptools to requirements.txt"
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
        f"requirements.txt and build the image again (seen: {', '.join(map(str, files))})"
    )


def _outdated(error: BaseException) -> str:
    """Which package needs an older Werkzeug; the newer one may be the image's own."""
    if not isinstance(error, ImportError) or error.name != "werkzeug.urls":
        return ""
    file = traceback.extract_tb(error.__traceback__)[-1].filename
    package = file.rpartition("/site-packages/")[2].partition("/")[0] or file
    return (
        f"{package} does not work with Werkzeug {version('werkzeug')}: add Werkzeug<3 to "
        "requirements.txt and build the image again"
    )
