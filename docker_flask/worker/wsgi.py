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
from functools import partial
from pathlib import Path
from typing import Any

from docker_flask import notify, process
from docker_flask.discovery import find_app, static_folder
from docker_flask.worker import guard, response_cache, sendfile
from docker_flask.worker.threads import Threads
from docker_flask.worker_options import WorkerOptions

EXIT_NOT_LOADED = 70  # EX_SOFTWARE in sysexits.h


def load() -> Any:
    """Find and import the application, and tell the supervisor how that went.

    A worker that can't load it ends, a second later: time enough for the supervisor to stop the
    whole server before that one starts the next worker.
    """
    # Flask's own sign that `app.run()` at a module's top level is to be ignored.
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    options = WorkerOptions.from_environment()
    tell = partial(notify.send, options.notify_fd)
    pages = response_cache.join(options)
    _prepare_gevent()
    tell("loading")
    if not options.preload:  # this is a worker: it loads, which takes memory
        guard.offer_to_oom_killer()
    root = Path.cwd()
    try:
        with _turn(options.load_lock):
            found = find_app.load(root, options.app_module, options.uwsgi_ini)
    except find_app.NotFound as error:
        _give_up(tell, str(error))
    except BaseException:
        _give_up(tell, traceback.format_exc().rstrip())
    del os.environ["FLASK_RUN_FROM_CLI"]
    sendfile.without_x_sendfile(found.application)
    application = found.application
    # Without it, nginx drops what clients say of themselves.
    if options.trusted_proxies:
        from docker_flask.worker import proxy_headers

        application = proxy_headers.TrustedProxies(application, options.trusted_proxies)
    guarded = guard.Guard(
        application,
        options.request_timeout,
        options.sendfile_location,
        options.max_requests,
        options.max_worker_memory,
        bool(options.client_header),
        pages,
        _threads(options),
        options.retire_signal,
    )
    _let_term_end_children()
    static, words = static_folder.find(found.application, root, options)

    def begin() -> None:
        WorkerOptions.from_environment()
        # uWSGI's master has a handler for this signal, which the workers that it forks inherit.
        signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        guarded.watch()
        guard.protect_exit()
        guard.offer_to_oom_killer()
        tell(
            "ready",
            f"{found.name} ({found.reason})",
            static=static and asdict(static),
            static_words=words,
            memory=process.own_memory(os.getpid()),
        )

    if options.preload:
        # uWSGI may start itself again (touch-reload), with the environment of this process.
        os.environ.update(options.to_environment())
        # What stands now is never garbage; a collection that looked at it would copy its memory.
        gc.collect()
        gc.freeze()
        _in_each_worker(begin)
    else:
        begin()
    if options.client_header:
        from docker_flask.worker.client_header import OverHttp

        return OverHttp(guarded, options.client_header)
    return guarded


def _threads(options: WorkerOptions) -> Callable[[], Threads] | None:
    """What makes the threads of a worker, once there is one; None where their number stays."""
    if not options.max_threads:
        return None
    return partial(Threads, options.max_threads, options.max_threads_memory, options.listener_fd)


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
def _turn(path: str) -> Iterator[None]:
    """One worker at a time, where the supervisor wants that: beside a generation that serves.

    Loading all at once would take the CPUs away from the requests.
    """
    if not path:
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _give_up(tell: Callable[..., bool], reason: str) -> None:
    if not tell("failed", reason):
        print(reason, file=sys.stderr, flush=True)
    time.sleep(1)
    os._exit(EXIT_NOT_LOADED)


application = load()
