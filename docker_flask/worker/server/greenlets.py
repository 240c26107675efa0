"""gevent in a worker: real threads beside greenlets, and corrections of uWSGI's gevent loop."""

import gc
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from docker_flask.worker.find import places
from docker_flask.worker.middleware import responses

# The frames of each thread and greenlet by its number, the innermost first.
Stacks = dict[int | None, list[FrameType]]
# The number in `Stacks` of the greenlet that blocks all others.
BLOCKING = -1
# Seconds for gevent's loop to respond: who asks for the status waits for it, too.
PATIENCE = 0.25
# gevent's loop in the thread that runs the greenlets.
_hub: Any = None


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


def note_hub() -> None:
    """Call this in the thread that runs the greenlets, before `stacks`."""
    global _hub
    if runs_greenlets():
        from gevent import get_hub

        _hub = get_hub()


def stacks() -> Stacks:
    """The frames of all threads and greenlets.

    The thread of the greenlets collects those of greenlets: the stack of a greenlet moves when it
    goes on, and another thread that walks the stack then crashes the worker.
    """
    if not _hub:
        # Without this call itself: its frame would keep the frames, with all variables of requests.
        return {
            number: places.stack(top)
            for number, top in sys._current_frames().items()
            if top.f_code is not stacks.__code__
        }
    if unpatched("_thread", "get_ident")() == _hub.thread_ident:
        return _of_greenlets()
    results: list[Stacks] = []
    is_done = unpatched("_thread", "allocate_lock")()
    is_done.acquire()

    def collect() -> None:
        results.append(_of_greenlets())
        is_done.release()

    _hub.loop.run_callback_threadsafe(collect)
    if is_done.acquire(timeout=PATIENCE):
        return results[0]
    blocking = places.stack(sys._current_frames().get(_hub.thread_ident))
    is_request = any(frame.f_code.co_filename == responses.__file__ for frame in blocking)
    return {BLOCKING: blocking} if is_request else {}


def _of_greenlets() -> Stacks:
    from gevent import Greenlet

    greenlets = (each for each in gc.get_objects() if isinstance(each, Greenlet))
    return {id(greenlet): places.stack(greenlet.gr_frame) for greenlet in greenlets}
