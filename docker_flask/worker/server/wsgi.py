"""The callable that every application server loads: the application within the middleware.

Each worker imports this module once. With PRELOAD=1, the server's first process imports it, and
then forks the workers.
"""

import contextlib
import faulthandler
import fcntl
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from docker_flask.shared import notify, process, worker_options
from docker_flask.shared.paths import PYTHON
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.find import find_app, load_errors, slow_load, static_folder
from docker_flask.worker.find.callables import FoundApp, is_flask
from docker_flask.worker.hooks import no_debug, permission_hints, static_guard
from docker_flask.worker.middleware.chain import chain
from docker_flask.worker.middleware.files import File
from docker_flask.worker.middleware.wsgi_types import Wsgi
from docker_flask.worker.server import app_metrics, greenlets, per_worker, tracing, worker_process
from docker_flask.worker.server.app_metrics import Slots
from docker_flask.worker.server.late_threads import LateThreads
from docker_flask.worker.server.watchdog import Watchdog
from docker_flask.worker.server.web_sockets import WebSockets
from docker_flask.worker.server.worker_process import Recycling, WorkerProcess

STDOUT = 1
EXIT_NOT_LOADED = 70  # EX_SOFTWARE in sysexits.h
# A worker that can't load the application waits for so long before it ends: the supervisor stops
# the server meanwhile, and the server does not start the next worker.
PAUSE_BEFORE_EXIT = 1.0


def load() -> Wsgi:
    """Find and import the application, and notify the supervisor of the result."""
    options = WorkerOptions.from_environment()
    tell = partial(notify.send, options.notify_fd)
    worker = WorkerProcess(options.retire_signal, options.drain_fd)
    worker.end_if_drained()
    greenlets.prepare_uwsgi()
    sys.executable = PYTHON  # uWSGI puts its own command there, which child processes can't start
    if "uwsgi" in sys.modules:  # it has let `print` write to stderr
        sys.stdout = open(STDOUT, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    tell("loading")
    faulthandler.enable()  # a crash in C shows the line of Python
    if not options.preload:  # this process is a worker
        worker_process.offer_to_oom_killer()
    no_debug.turn_off()
    try:
        slots = app_metrics.share(options.metrics_folder)
        tracing.set_up()
        with _turn_to_load(options.load_lock, options.load_one_by_one):
            return _load(options, worker, tell, slots)
    except BaseException as error:
        _give_up(tell, load_errors.report(error))


def _load(
    options: WorkerOptions, worker: WorkerProcess, tell: Callable[..., bool], slots: Slots | None
) -> Wsgi:
    with slow_load.reported(options.start_timeout, options.load_lock):
        found = find_app.load(Path.cwd(), options.app_module, options.uwsgi_ini)
    permission_hints.watch(found.application.name if is_flask(found.application) else "")
    threads = LateThreads(
        options.request_timeout, lambda count, lines: tell("threads", count=count, lines=lines)
    )
    watchdog = Watchdog(
        options.request_timeout,
        options.watchdog,
        worker,
        threads,
        options.slow_request,
        options.status_order,
        tell,
    )
    recycling = Recycling(options.max_requests, options.max_worker_memory, worker, threads)
    worker.on_retire.append(partial(tell, "retired"))
    handshakes = None
    if options.max_web_sockets:
        sockets = WebSockets(options, watchdog, lambda count: tell("web sockets", count=count))
        worker.on_retire.append(lambda _: sockets.leave())
        handshakes = sockets.handshakes
    application = chain(found.application, options, watchdog, recycling.count, handshakes)
    worker_process.let_term_end_children()
    message = _about(found, options)

    def begin() -> None:
        worker.end_if_drained()
        if slots and options.preload:
            with contextlib.suppress(OSError):  # its files have its pid then
                slots.take()
        # The child processes of the worker have other options, or none.
        os.environ.pop(worker_options.VARIABLE, None)
        # Workers inherit the handler of this signal from uWSGI's master.
        signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        recycling.start()
        watchdog.start()
        worker_process.protect_exit()
        worker_process.offer_to_oom_killer()
        tell(
            "ready",
            f"{found.name} ({found.reason})",
            memory=process.own_memory(os.getpid()),
            **message,
        )

    if options.preload:
        # uWSGI may start itself again (touch-reload), with the environment of this process.
        os.environ.update(options.to_environment())
        # Objects that exist now stay. If a worker's garbage collector looked at them, the worker
        # would copy their memory.
        gc.collect()
        gc.freeze()
        worker_process.call_in_each_worker(begin)
    else:
        begin()
    return application


def _about(found: FoundApp, options: WorkerOptions) -> dict[str, Any]:
    """What the supervisor has to know about the application; prepares a Flask application."""
    static, words = static_folder.find(found.application, Path.cwd(), options)
    kind, digest = "WSGI callable", ""
    notes = no_debug.report(found.application)
    if is_flask(found.application):
        kind = "Flask application"
        static_guard.protect(found.application, File)
        digest = per_worker.secret_key_digest(found.application, options)
        notes += per_worker.socket_io_notes(found.application, options)
        # nginx does not support Flask's own X-Sendfile header.
        found.application.config["USE_X_SENDFILE"] = False
    file = getattr(sys.modules.get(found.name.partition(":")[0]), "__file__", None)
    place = f" in {file}" if file else ""
    return {
        "found": f"found the {kind} {found.name}{place} ({found.reason})",
        "static": static and asdict(static),
        "static_files": words,
        "notes": [*filter(None, [found.note]), *notes],
        "secret_key": digest,
    }


@contextlib.contextmanager
def _turn_to_load(path: str, one_by_one: bool) -> Iterator[None]:
    """Wait for this worker's turn to load the application.

    The first worker loads alone, because many applications create tables and folders when they are
    imported, and because the supervisor decides by its memory how many workers there are. path: a
    file that the workers lock, and that is empty until one has loaded; an empty path means no lock.
    one_by_one: the other workers load one at a time, too.
    """
    if not path:
        yield
        return
    with open(path, "ab") as lock:
        # A process that the application forks must not keep the lock of a worker that is killed.
        os.register_at_fork(after_in_child=lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_first = not os.fstat(lock.fileno()).st_size
        if not is_first and not one_by_one:
            fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            yield
            if is_first:
                os.ftruncate(lock.fileno(), 1)  # needs no space on a full disk
        finally:
            # Closing the file is not enough: a process that a library forked has it, too.
            if not lock.closed:
                fcntl.flock(lock, fcntl.LOCK_UN)


def _give_up(tell: Callable[..., bool], reason: str) -> NoReturn:
    if not tell("failed", reason.rstrip()):
        print(reason, file=sys.stderr, flush=True)
    time.sleep(PAUSE_BEFORE_EXIT)
    os._exit(EXIT_NOT_LOADED)


application = load()
