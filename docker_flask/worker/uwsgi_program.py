#!/opt/venv/bin/python
"""The command `uwsgi`: uWSGI as a library, in the interpreter that `python3` is.

uWSGI's own program contains libpython, which Debian and Ubuntu compile without the optimizations of
their `python3` (profile-guided and link-time optimization): a request would cost a seventh more.
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
# The program that uWSGI starts when it restarts itself, and the call after it has read its options.
OWN = ["--binary-path", str(PROGRAM), "--hook-asap", "call:PyRun_SimpleString take_environment()"]
# Fields of /proc/PID/stat, counted from the third (man 5 proc_pid_stat): the start of the command
# line in memory, and the end of the environment, which follows the command line.
ARG_START, ENV_END = 45, 48


def command_line() -> list[bytes]:
    """The arguments for uWSGI; unchanged if uWSGI has restarted itself with these arguments."""
    words = sys.argv[1:]
    return [os.fsencode(word) for word in (words if words[: len(OWN)] == OWN else OWN + words)]


def name_in_memory() -> int:
    """The address of this command's first word, where `ps` reads the name of a process.

    There, and up to the end of the environment, uWSGI writes the name of each process. If the room
    is too small, uWSGI gets other memory, which `ps` does not read.
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
    words = command_line()
    arguments = (ctypes.c_char_p * (len(words) + 2))(b"", *words)
    ctypes.c_void_p.from_buffer(arguments).value = name_in_memory()
    environ = ctypes.c_void_p.in_dll(ctypes.pythonapi, "environ")
    # GLOBAL: uWSGI's plugins need its symbols. PyDLL: uWSGI calls the interpreter, with its lock.
    uwsgi = ctypes.PyDLL(str(LIBRARY), ctypes.RTLD_GLOBAL)
    sys.exit(uwsgi.uwsgi_init(len(words) + 1, arguments, environ))


if __name__ == "__main__":
    main()
