"""What stands between a worker's server and the application: no request may hold or end it.

Runs inside every worker, so it uses the standard library only, and little of it per request.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import math
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from docker_flask.worker.answer import Answer, HeadersTooLarge
from docker_flask.worker.response_cache import Pages
from docker_flask.worker.threads import Threads

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

# nginx answers 504 at REQUEST_TIMEOUT; the worker must not go before that, or the client would
# get 502 instead, and a GET would be tried again.
MARGIN = 0.7
# How often (s) a worker with requests is looked at, and where more threads may be what it needs.
TICK, EAGER_TICK = 0.5, 0.1
# The part of its timeout for which one without requests may be left alone until one comes.
REST = 1 / 8
# What a worker that was told to end gets for that, once its requests are answered: a background
# thread of the application may hold it.
LINGER = 2.0
# Of two processes that fill a limited container, the kernel kills the one with the higher number.
OOM_SCORE = "500"
BLOCK = 1 << 16
# Bytes that the kernel is asked to take at once of an answer whose first part is as long as BLOCK.
# It doubles them, for what it needs itself (socket(7)); for other answers it has a fifth of that.
# More is no faster (benchmarks/TRIED.md).
TAKEN = 1 << 19
PAGE = os.sysconf("SC_PAGE_SIZE")
_FAILED = b"Internal Server Error\n"


class Guard:
    """Wraps an application: measures its requests, and answers 500 for whatever escapes it.

    timeout: seconds that the application may be silent within a request; the time that a client
    takes to receive what it sent does not count. A worker with a request over that is ended: first
    it waits, and serves, as long as a client is slow to receive; then it takes no more requests,
    and answers those of its other threads. Each lasts no longer than the timeout.
    files: the name of nginx's location for files, empty if workers are to send them.
    most_requests, most_memory (bytes): what a worker may answer and take before it is replaced; 0
    for no limit. over_http: the server leaves it to the application to read a request's body.
    pages: what nginx's cache is told of answers, None without one.
    threads: what makes these more or fewer, None where their number stays.
    retire_signal: makes a worker take no more requests; 0, which does nothing, where there is none.
    """

    def __init__(
        self,
        application: Wsgi,
        timeout: float,
        files: str = "",
        most_requests: int = 0,
        most_memory: int = 0,
        over_http: bool = False,
        pages: Pages | None = None,
        threads: Callable[[], Threads] | None = None,
        retire_signal: int = 0,
    ) -> None:
        self._application = application
        self._timeout = timeout
        self._files = files
        self._most_requests = most_requests
        self._most_memory = most_memory
        self._over_http = over_http
        self._pages = pages
        self._new_threads = threads
        self._retire_signal = retire_signal
        # Held; let go when a request comes while its watcher sleeps until one does.
        self._alarm = _unpatched("_thread", "allocate_lock")()
        self._alarm.acquire()
        self._asleep = False
        # Threads with a request.
        self._inside: set[int] = set()
        # When each thread's request began or went on; negative while its client is sent something.
        self._begun: dict[int, float] = {}
        # Of threads, also where gevent has put greenlets in their place.
        self._local = _unpatched("_thread", "_local")()
        # Requests that this worker still takes.
        self._left = math.inf
        # Threads whose request takes too long, and since when there are any.
        self._overdue: set[int] = set()
        self._since = 0.0
        # The thread in which greenlets run.
        self._main = 0
        # Whether the server was told to send no more requests here.
        self._retired = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        if not hasattr(self._local, "signals_pass"):
            # uWSGI blocks all signals in its threads, and what a thread blocks, so do the programs
            # that it starts: no TERM would end them.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._local.signals_pass = True
        thread, begun, now = threading.get_ident(), self._begun, time.monotonic
        self._inside.add(thread)
        if self._asleep:
            self._wake()
        begun[thread] = now()
        body = environ["wsgi.input"] if self._over_http and _has_body(environ) else None
        result = page = answer = None
        complete = False
        if environ.get("REQUEST_URI", "").startswith("//"):
            _begin_with_one_slash(environ)
        try:
            page = self._pages.asked(environ) if self._pages else None
            if page and page.known and (elsewhere := page.elsewhere()):
                start_response("200 OK", elsewhere)
                return
            answer = Answer(environ, start_response, self._files, page, self._pages)
            result = self._application(environ, answer.start)
            for chunk in answer.take(result):
                if not isinstance(chunk, bytes):  # uWSGI would leave it out, with status 200
                    raise TypeError(f"a body is made of bytes, not of {type(chunk).__name__}")
                if not answer.begun:
                    answer.begin()
                    if len(chunk) >= BLOCK:
                        _have_much_taken(environ)
                begun[thread] = -now()
                yield chunk
                begun[thread] = now()
            answer.begin()
            complete = True
        except GeneratorExit:  # the client has left
            raise
        except BaseException as error:  # also SystemExit: a request does not end the worker
            if answer and answer.begun:
                # The server breaks it off.
                raise RuntimeError("the application failed within its response") from error
            if isinstance(error, HeadersTooLarge):
                print(f"docker-flask: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(_FAILED)))]
            # A header that the server did not take is replaced; uWSGI does so in any case.
            replacing = (sys.exc_info(),) if self._over_http else ()
            if page and page.known and (stand_in := page.stand_in("500")):
                start_response("200 OK", stand_in, *replacing)
                return
            start_response("500 Internal Server Error", plain, *replacing)
            yield _FAILED
        finally:
            begun.pop(thread, None)
            try:
                if page and (page.known or page.shared):
                    page.end(complete)
                close = getattr(result, "close", None)
                if close:
                    close()
                if body:
                    _read_to_end(body)
            finally:
                self._inside.discard(thread)
                self._count()

    def watch(self) -> None:
        """Look after the requests for ever, in a thread of its own."""
        if self._most_requests:
            # By chance, so that the workers do not all go at once.
            self._left = random.randint(math.ceil(self._most_requests / 2), self._most_requests)
        # A C function that keeps the interpreter's lock keeps that thread from looking, too. It
        # burns processor time, which a timer counts: it dumps the traceback and ends the worker.
        faulthandler.register(signal.SIGVTALRM, chain=True)
        self._wind_up(TICK)
        self._main = _unpatched("_thread", "get_ident")()
        # A thread of the kernel's also under gevent: a greenlet would not run while another hangs.
        _unpatched("_thread", "start_new_thread")(self._watch, ())

    def _watch(self) -> None:
        sleep = _unpatched("time", "sleep")
        threads = self._new_threads() if self._new_threads else None
        tick, rest = EAGER_TICK if threads else TICK, max(TICK, REST * self._timeout)
        last = busy = time.monotonic()
        pause, rests, retired = TICK, False, False
        while True:
            if not rests:
                sleep(pause)
            elif self._rest(rest):
                last, pause, rests = time.monotonic(), tick, False
                continue
            now = time.monotonic()
            # A container that was paused, or a clock that jumped, is not the requests' fault.
            jump = now - last - pause
            last = now
            running = list(self._begun.items())
            if jump > 2 * TICK or jump < -TICK:
                for thread, begun in running:
                    self._begun[thread] = begun + (jump if begun > 0 else -jump)
                continue
            if threads:
                threads.look(len(self._inside))
            more = threads is not None and threads.number > 1
            rests = not (self._inside or self._retired or more)
            pause = rest if rests else tick if self._inside else TICK
            self._wind_up(max(TICK, pause))
            if self._inside or not retired:
                busy = now
            elif now - busy > LINGER:
                _exit(1)
            retired = self._retired
            self._end_if_overdue(now, running)

    def _rest(self, seconds: float) -> bool:
        """Sleep until a request comes, but no longer than that; returns whether one came."""
        self._asleep = True
        came = bool(self._inside) or self._alarm.acquire(timeout=seconds)
        self._asleep = False
        return came

    def _wake(self) -> None:
        self._asleep = False
        with contextlib.suppress(RuntimeError):  # another request was first
            self._alarm.release()

    def _end_if_overdue(self, now: float, running: list[tuple[int, float]]) -> None:
        limit = now - self._timeout - MARGIN
        overdue = {thread for thread, begun in running if 0 < begun < limit}
        for thread in overdue - self._overdue:
            self._report(thread)
        if not overdue & self._overdue:
            self._since = now
        self._overdue = overdue
        if not overdue:
            return
        others = any(begun > 0 and thread not in overdue for thread, begun in running)
        slow = any(begun < 0 and now + begun > TICK for _, begun in running)
        if now - self._since <= self._timeout and (slow or (others and self._retired)):
            return
        if self._retired:
            _exit(1)
        self._retired, self._since = True, now
        os.kill(os.getpid(), self._retire_signal)

    def _wind_up(self, pause: float) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, self._timeout + MARGIN + pause)

    def _report(self, thread: int) -> None:
        frames = sys._current_frames()
        frame = frames.get(thread) or _frame_of_greenlet(thread) or frames.get(self._main)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        print(
            f"docker-flask: a request took longer than REQUEST_TIMEOUT={self._timeout:g} seconds; "
            f"worker {os.getpid()} is replaced. It was here:\n{stack}",
            file=sys.stderr,
            end="",
            flush=True,
        )

    def _count(self) -> None:
        """Have this worker replaced if this request is its last.

        Within a request, because a worker that is told to end while it waits for one may drop what
        it accepts in that moment.
        """
        if self._retired:
            return
        self._left -= 1
        memory = _resident_memory() if self._most_memory else 0
        if self._left <= 0:
            why = f"has answered its share of MAX_REQUESTS={self._most_requests}"
        elif memory > self._most_memory:
            limit = self._most_memory >> 20
            why = f"takes {memory >> 20} MiB, more than MAX_WORKER_MEMORY of {limit} MiB"
        else:
            return
        self._retired = True
        signal.raise_signal(self._retire_signal)  # handled in this thread, before its next request
        print(f"docker-flask: worker {os.getpid()} {why}; it is replaced", file=sys.stderr)


def _unpatched(module: str, name: str) -> Any:
    """A function as the standard library has it, also where gevent has put its own in the place."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey:
        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def _frame_of_greenlet(identity: int) -> Any:
    """Where a greenlet is, by what stands for the identity of its thread; None if there is none."""
    greenlet = sys.modules.get("greenlet")
    if not greenlet:
        return None
    for found in gc.get_objects():
        if id(found) == identity and isinstance(found, greenlet.greenlet):
            return found.gr_frame  # none of one that runs: it is what its thread does
    return None


def _begin_with_one_slash(environ: Environ) -> None:
    """Do as Python's own server does: whoever redirects to //name would name another host."""
    for name in ("PATH_INFO", "REQUEST_URI"):
        environ[name] = "/" + environ[name].lstrip("/")


def _has_body(environ: Environ) -> bool:
    return environ.get("CONTENT_LENGTH", "0") not in ("", "0")


def _have_much_taken(environ: Environ) -> None:
    """Let the kernel take much of an answer at once, if the server says on which connection.

    Or nginx and the worker wake each other for every piece of it. Not by a socket of Python's:
    where the application has set a default timeout, it makes the server's connection nonblocking.
    """
    if connection := environ.get("gunicorn.socket"):
        descriptor = connection.fileno()
    elif uwsgi := sys.modules.get("uwsgi"):
        descriptor = uwsgi.connection_fd()
    else:
        return
    size = ctypes.c_int(TAKEN)
    ctypes.CDLL(None).setsockopt(
        descriptor, socket.SOL_SOCKET, socket.SO_SNDBUF, ctypes.byref(size), ctypes.sizeof(size)
    )


def _read_to_end(body: Any) -> None:
    """Read what the application left of a request's body.

    A server that closes a connection with something unread in it resets it, and nginx may lose the
    answer by that: 502.
    """
    with contextlib.suppress(OSError, ValueError):  # the client has left, or the body is closed
        while body.read(BLOCK):
            pass


def _resident_memory() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * PAGE


_exit = os._exit


def protect_exit() -> None:
    """Make `os._exit` end this worker as a crash, whatever code the application gives.

    Some codes are orders to the server's master: uWSGI never replaces a worker that ends with 15,
    and ends itself for 22; Gunicorn does for 3 and 4.
    """
    worker = os.getpid()

    def exit_as_crash(status: int) -> None:
        _exit(1 if os.getpid() == worker else status)

    os._exit = exit_as_crash  # type: ignore[assignment]


def offer_to_oom_killer() -> None:
    """Let the kernel take this worker, and not nginx or the supervisor, when memory is out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(OOM_SCORE)
    except OSError:
        pass
