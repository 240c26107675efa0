"""The callable that every application server loads: the application, found and guarded.

Imported once in each worker. Standard library only, because it shares a Python environment with
the application.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from docker_flask import guard, locate, notify

EXIT_NOT_LOADED = 70  # EX_SOFTWARE in sysexits.h


def load() -> Any:
    """Find and import the application, and tell the supervisor how that went.

    A worker that can't load it ends, a second later: time enough for the supervisor to stop the
    whole server before that one starts the next worker.
    """
    # Flask's own sign that `app.run()` at a module's top level is to be ignored.
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    notify.send("loading")
    try:
        found = locate.load(Path.cwd(), os.environ.get("APP_MODULE"))
    except locate.NotFound as error:
        _give_up(str(error))
    except BaseException:
        _give_up(traceback.format_exc().rstrip())
    del os.environ["FLASK_RUN_FROM_CLI"]
    guarded = guard.Guard(found.application, float(os.environ.get("REQUEST_TIMEOUT", "60")))
    guarded.watch()
    guard.protect_exit()
    guard.offer_to_oom_killer()
    notify.send("ready", f"{found.name} ({found.reason})")
    return guarded


def _give_up(reason: str) -> None:
    if not notify.send("failed", reason):
        print(reason, file=sys.stderr, flush=True)
    time.sleep(1)
    os._exit(EXIT_NOT_LOADED)


application = load()
