"""What stands between a worker's server and the application: no request may hold or end it.

Runs inside every worker, so it uses the standard library only, and little of it per request.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

# nginx answers 504 at REQUEST_TIMEOUT; the worker must not go before that, or the client would
# get 502 instead, and a GET would be tried again.
MARGIN = 0.7
TICK = 0.5
# Of two processes that fill a limited container, the kernel kills the one with the higher number.
OOM_SCORE = "500"
_FAILED = b"Internal Server Error\n"


class Guard:
    """Wraps an application: measures its requests, and answers 500 for whatever escapes it.

    timeout: seconds that the application may be silent within a request; the time that a client
    takes to receive what it sent does not count. A worker with a request over that is ended, once
    its other threads have answered theirs.
    """

    def __init__(self, application: Wsgi, timeout: float) -> None:
        self._application = application
        self._timeout = timeout
        self._begun: dict[int, float] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        thread, begun, now = threading.get_ident(), self._begun, time.monotonic
        begun[thread] = now()
        result = None
        try:
            result = self._application(environ, start_response)
            for chunk in result:
                del begun[thread]
                yield chunk
                begun[thread] = now()
        except GeneratorExit:  # the client has left
            raise
        except BaseException as error:  # also SystemExit: a request does not end the worker
            if result is not None:
                # The response may have begun; the server breaks it off.
                raise RuntimeError("the application failed within its response") from error
            traceback.print_exc()
            plain = [("Content-Type", "text/plain"), ("Content-Length", str(len(_FAILED)))]
            start_response("500 Internal Server Error", plain)
            yield _FAILED
        finally:
            begun.pop(thread, None)
            close = getattr(result, "close", None)
            if close:
                close()

    def watch(self) -> None:
        """Look after the requests for ever, in a thread of its own."""
        # A C function that keeps the interpreter's lock keeps this thread from looking, too. It
        # burns processor time, which a timer counts: it dumps the traceback and ends the worker.
        faulthandler.register(signal.SIGVTALRM, chain=True)
        self._wind_up()
        threading.Thread(target=self._watch, name="docker-flask guard", daemon=True).start()

    def _watch(self) -> None:
        reported: set[int] = set()
        last = time.monotonic()
        while True:
            time.sleep(TICK)
            now = time.monotonic()
            # A container that was paused, or a clock that jumped, is not the requests' fault.
            jump = now - last - TICK
            last = now
            running = list(self._begun.items())
            if jump > 2 * TICK or jump < -TICK:
                for thread, begun in running:
                    self._begun[thread] = begun + jump
                continue
            self._wind_up()
            overdue = {thread for thread, begun in running if now - begun > self._timeout + MARGIN}
            for thread in overdue - reported:
                self._report(thread)
            reported &= overdue
            if overdue:
                self._end(len(running) - len(overdue), first=not reported)
            reported |= overdue

    def _wind_up(self) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, self._timeout + MARGIN + TICK)

    def _report(self, thread: int) -> None:
        frame = sys._current_frames().get(thread)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        print(
            f"docker-flask: a request took longer than REQUEST_TIMEOUT={self._timeout:g} seconds; "
            f"worker {os.getpid()} is replaced. It was here:\n{stack}",
            file=sys.stderr,
            end="",
            flush=True,
        )

    def _end(self, others: int, first: bool) -> None:
        """End this worker, a look after it was told to take no more, and when its other threads
        have answered."""
        if not others and not first:
            _exit(1)
        number = os.environ.get("DOCKER_FLASK_RETIRE_SIGNAL", "")
        if first and number:
            # The server's own way for a worker to take no more requests.
            os.kill(os.getpid(), int(number))


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
