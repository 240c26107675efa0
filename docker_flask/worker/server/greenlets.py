"""gevent in a worker: real threads beside greenlets, and corrections of uWSGI's gevent loop."""

import signal
import sys
from collections.abc import Callable
from typing import Any


def prepare_uwsgi() -> None:
    """If uWSGI runs greenlets: patch the standard library early, and keep uWSGI's handler of TERM.

    uWSGI patches after it loads the application. Blocking functions that the application imports by
    name would then block all requests of the worker. uWSGI's gevent loop also handles TERM, and
    would drop the requests that the worker serves.
    """
    uwsgi = sys.modules.get("uwsgi")
    if not uwsgi or uwsgi.loop != b"gevent":
        return
    import gevent.monkey

    if "gevent-monkey-patch" in uwsgi.opt:
        gevent.monkey.patch_all()
    set_handler = gevent.signal_handler

    def signal_handler(number: int, handler: Callable[..., Any], *arguments: Any) -> Any:
        if number == signal.SIGTERM:  # ignored in all workers (app.ini)
            return None
        return set_handler(number, handler, *arguments)

    gevent.signal_handler = signal_handler


def unpatched(module: str, name: str) -> Any:
    """A function of the standard library, even if gevent has replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey:
        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def runs_greenlets() -> bool:
    """True if the threads of the application are greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("threading"))
