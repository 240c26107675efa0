"""Imported once, in uWSGI's master, before its workers are forked.

What every worker would import by itself is then shared between them: a quarter of the work at the
start, and memory that is used once. Only the framework; the application is loaded by each worker.
"""

import contextlib
import gc

with contextlib.suppress(Exception):  # not every application uses Flask
    import flask  # noqa: F401

# What stands now is never garbage; a collection that looked at it would copy its memory.
gc.freeze()
