#!/opt/venv/bin/python
"""The command `uwsgi`: uWSGI as a library, in the interpreter that `python3` is.

As a program of its own, uWSGI carries libpython, which Debian and Ubuntu compile without what makes
their `python3` fast (profile-guided and link-time optimization): a request costs a seventh more.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve()
LIBRARY = PROGRAM.with_name("uwsgi.so")
# What uWSGI is to start when it starts itself anew, and to call when it has read its options.
OWN = ["--binary-path", str(PROGRAM), "--hook-asap", "call:PyRun_SimpleString take_environment()"]
# Fields of /proc/PID/stat, counted from its third (man 5 proc_pid_stat): where the memory of the
# command line begins, and where that of the environment, which follows, ends.
ARG_START, ENV_END = 45, 48


def command_line() -> list[bytes]:
    """The words behind its name for uWSGI, also when it has started itself anew with the same."""
    words = sys.argv[1:]
    return [os.fsencode(word) for word in (words if words[: len(OWN)] == OWN else OWN + words)]


def name_in_memory() -> int:
    """The address of this command's first word, where `ps` reads it.

    Over that and on to the end of the environment, uWSGI writes what each of its processes is. If
    it should not have room for that, it gets memory that `ps` does not read.
    """
    fields = Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()
    start, end = int(fields[ARG_START]), int(fields[ENV_END])
    variables = sum(len(name) + len(value) + 2 for name, value in os.environb.items())
    needed = len(ctypes.string_at(start)) + variables + 3
    return start if needed <= end - start else ctypes.addressof(_spare(needed))


@functools.cache
def _spare(size: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(b"uwsgi", size)


def take_environment() -> None:
    """Show the application the variables that uWSGI's options have set, as `env` does.

    Python reads the environment when it starts, which is before these options are read.
    """
    entries = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.pythonapi, "environ")
    read = itertools.takewhile(bool, map(entries.__getitem__, itertools.count()))
    found = {name: value for name, _, value in (entry.partition(b"=") for entry in read)}
    for name in os.environb.keys() - found.keys():
        del os.environb[name]
    os.environb.update(found)


def main() -> None:
    """Run uWSGI; does not return before it ends."""
    # Not there if PYTHONSAFEPATH is set.
    if sys.path[0] == str(PROGRAM.parent):
        del sys.path[0]
    words = command_line()
    arguments = (ctypes.c_char_p * (len(words) + 2))(b"", *words)
    ctypes.c_void_p.from_buffer(arguments).value = name_in_memory()
    environ = ctypes.c_void_p.in_dll(ctypes.pythonapi, "environ")
    # Its symbols are for its plugins, too; and it calls the interpreter, so it keeps its lock.
    uwsgi = ctypes.PyDLL(str(LIBRARY), ctypes.RTLD_GLOBAL)
    sys.exit(uwsgi.uwsgi_init(len(words) + 1, arguments, environ))


if __name__ == "__main__":
    main()
