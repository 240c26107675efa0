"""The callable that every application server loads: the application, found and guarded.

Imported once in each worker; with PRELOAD=1 in their parent, before it forks them. Standard library
only, because it shares a Python environment with the application.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from docker_flask import notify, process
from docker_flask.discovery import find_app, static_folder
from docker_flask.worker import guard, response_cache, sendfile
from docker_flask.worker.threads import Threads

EXIT_NOT_LOADED = 70  # EX_SOFTWARE in sysexits.h


def load() -> Any:
    """Find and import the application, and tell the supervisor how that went.

    A worker that can't load it ends, a second later: time enough for the supervisor to stop the
    whole server before that one starts the next worker.
    """
    # Flask's own sign that `app.run()` at a module's top level is to be ignored.
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    # Not for the application, nor for those whom it shows its environment.
    files_location = os.environ.pop("DOCKER_FLASK_FILES", "")
    pages = response_cache.join(os.environ)
    _prepare_gevent()
    notify.send("loading")
    if not os.environ.get("DOCKER_FLASK_PRELOAD"):  # this is a worker: it loads, which takes memory
        guard.offer_to_oom_killer()
    root = Path.cwd()
    try:
        with _turn():
            found = find_app.load(root)
    except find_app.NotFound as error:
        _give_up(str(error))
    except BaseException:
        _give_up(traceback.format_exc().rstrip())
    del os.environ["FLASK_RUN_FROM_CLI"]
    sendfile.without_x_sendfile(found.application)
    application = found.application
    # Without it, nginx drops what clients say of themselves.
    if trusted := os.environ.get("TRUSTED_PROXIES"):
        from docker_flask.worker import proxy_headers

        application = proxy_headers.TrustedProxies(application, trusted)
    over_http = os.environ.pop("DOCKER_FLASK_OVER_HTTP", "")
    guarded = guard.Guard(
        application,
        float(os.environ.get("REQUEST_TIMEOUT", "60")),
        files_location,
        int(os.environ.get("MAX_REQUESTS", "0")),
        int(os.environ.get("MAX_WORKER_MEMORY", "0")),
        bool(over_http),
        pages,
        _threads(os.environ.pop("DOCKER_FLASK_THREADS", "")),
    )
    _let_term_end_children()
    static, words = static_folder.find(found.application, root)

    def begin() -> None:
        # uWSGI's master has a handler for this signal, which the workers that it forks inherit.
        signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        guarded.watch()
        guard.protect_exit()
        guard.offer_to_oom_killer()
        notify.send(
            "ready",
            f"{found.name} ({found.reason})",
            static=static and asdict(static),
            static_words=words,
            memory=process.own_memory(os.getpid()),
        )

    if os.environ.get("DOCKER_FLASK_PRELOAD"):
        # What stands now is never garbage; a collection that looked at it would copy its memory.
        gc.collect()
        gc.freeze()
        _in_each_worker(begin)
    else:
        begin()
    if over_http:
        from docker_flask.worker.client_header import OverHttp

        return OverHttp(guarded, over_http)
    return guarded


def _threads(words: str) -> Callable[[], Threads] | None:
    """What makes the threads of a worker, once there is one; None where their number stays.

    words: how many there may be, what memory (bytes) all workers may take, and the descriptor of
    the socket where requests wait.
    """
    if not words:
        return None
    most, memory, queue = map(int, words.split())
    return lambda: Threads(most, memory, queue)


def _in_each_worker(begin: Callable[[], None]) -> None:
    """Call a function in each worker that will be forked from this process.

    A server forks them from the thread that loads the application; what the application itself
    forks comes from another thread, or from a worker.
    """
    server, thread = os.getpid(), threading.get_ident()

    def after_fork() -> None:
        if os.getppid() == server and threading.get_ident() == thread:
            begin()

    os.register_at_fork(after_in_child=after_fork)


def _let_term_end_children() -> None:
    """uWSGI ignores TERM (app.ini), but what the application forks has to end by it.

    The signal is held back until the child is ready for it.
    """
    before = threading.local()

    def hold() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def die() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=die)


def _prepare_gevent() -> None:
    """Do for uWSGI's gevent what it would do too late, and keep it from what is no good.

    Once the application is loaded, it puts gevent's functions in the place of the blocking ones, so
    that those which the application has imported by name would hold up the whole worker; and has
    TERM drop what is in flight, in place of app.ini's handler.
    """
    uwsgi = sys.modules.get("uwsgi")
    if not uwsgi or uwsgi.loop != b"gevent":
        return
    import gevent.monkey

    if "gevent-monkey-patch" in uwsgi.opt:
        gevent.monkey.patch_all()
    set_handler = gevent.signal_handler

    def signal_handler(number: int, handler: Callable[..., Any], *arguments: Any) -> Any:
        name = getattr(handler, "__name__", "")
        if number == signal.SIGTERM and name == "uwsgi_gevent_unix_signal_int_handler":
            return None
        return set_handler(number, handler, *arguments)

    gevent.signal_handler = signal_handler


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """One worker at a time, where the supervisor wants that: beside a generation that serves.

    Loading all at once would take the CPUs away from the requests.
    """
    path = os.environ.get("DOCKER_FLASK_LOAD_LOCK")
    if not path:
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _give_up(reason: str) -> None:
    if not notify.send("failed", reason):
        print(reason, file=sys.stderr, flush=True)
    time.sleep(1)
    os._exit(EXIT_NOT_LOADED)


application = load()
