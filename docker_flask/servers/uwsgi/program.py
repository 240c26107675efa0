#!/opt/venv/bin/python
"""The command `uwsgi`: uWSGI as a library, in the interpreter that `python3` is.

uWSGI's own program contains libpython, which Debian and Ubuntu compile without the optimizations of
their `python3` (profile-guided and link-time optimization): a request would cost a seventh more.
"""

import contextlib
import ctypes
import gc
import itertools
import os
import random  # noqa: F401 (uWSGI would import one of the application)
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve()
LIBRARY = PROGRAM.with_name("uwsgi.so")
# The program that uWSGI starts when it restarts itself, and the call after it has read its options.
OWN = ["--binary-path", str(PROGRAM), "--hook-asap", "call:PyRun_SimpleString take_environment()"]


def take_environment() -> None:
    """Copy variables that uWSGI's options set, as `env` does, to os.environ.

    Python reads the environment at its start, before uWSGI reads these options.
    """
    entries = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.pythonapi, "environ")
    read = itertools.takewhile(bool, map(entries.__getitem__, itertools.count()))
    found = {name: value for name, _, value in (entry.partition(b"=") for entry in read)}
    for name in os.environb.keys() - found.keys():
        del os.environb[name]
    os.environb.update(found)


def main() -> None:
    """Run uWSGI until it ends."""
    # Python does not add this folder if PYTHONSAFEPATH is set.
    if sys.path[0] == str(PROGRAM.parent):
        del sys.path[0]
    # The workers share the framework, and each loads the application itself. If a worker's garbage
    # collector looked at the objects that exist now, the worker would copy their memory.
    with contextlib.suppress(Exception):  # not every application uses Flask
        import flask  # noqa: F401
    gc.freeze()
    # With options such as auto-procname, uWSGI writes the name of each process over the first word
    # and as many bytes as the environment has. `ps` does not read this memory.
    variables = sum(len(name) + len(value) + 2 for name, value in os.environb.items())
    first = ctypes.create_string_buffer(b"uwsgi", len(b"uwsgi") + variables + 3)
    # If uWSGI restarts itself, it has its own options twice, which changes nothing.
    words = [os.fsencode(word) for word in OWN + sys.argv[1:]]
    arguments = (ctypes.c_char_p * (len(words) + 2))(ctypes.cast(first, ctypes.c_char_p), *words)
    environ = ctypes.c_void_p.in_dll(ctypes.pythonapi, "environ")
    # GLOBAL: uWSGI's plugins need its symbols. PyDLL: uWSGI calls the interpreter, with its lock.
    uwsgi = ctypes.PyDLL(str(LIBRARY), ctypes.RTLD_GLOBAL)
    sys.exit(uwsgi.uwsgi_init(len(words) + 1, arguments, environ))


if __name__ == "__main__":
    main()
