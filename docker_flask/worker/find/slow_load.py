"""Where an import hangs: two lines in the log while the application loads."""

import _thread
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator

from docker_flask.shared.log import log
from docker_flask.worker.find import places

# Shares of START_TIMEOUT after which the log says where the import is. Process 1 began to count a
# little earlier, so the last one comes before the end.
SHARES = (1 / 3, 0.95)


@contextlib.contextmanager
def reported(limit: float, lock: str = "") -> Iterator[None]:
    """Log where this thread is if it stays here for too long; limit: START_TIMEOUT, seconds.

    lock: a file of all workers; one of those that hang at the same time reports. The lock is of the
    process: what the application forks does not keep it, and it is none of `flock`.

    The threads of `_thread` stay threads if the application loads gevent. A C function that holds
    the interpreter's lock holds up these lines, too.
    """
    is_loaded, has_ended = _thread.allocate_lock(), _thread.allocate_lock()
    is_loaded.acquire()
    has_ended.acquire()
    thread, begun = _thread.get_ident(), time.monotonic()

    def watch() -> None:
        with open(lock or os.devnull, "ab") as file:
            for share in SHARES:
                if is_loaded.acquire(timeout=max(0.0, begun + share * limit - time.monotonic())):
                    break
                if lock:
                    try:
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:  # another worker reports
                        continue
                place = places.words(places.stack(sys._current_frames().get(thread)))
                seconds = time.monotonic() - begun
                log(f"the application still loads, after {seconds:.1f} seconds, in {place}")
            else:
                is_loaded.acquire()  # until then, the others stay silent
        has_ended.release()

    _thread.start_new_thread(watch, ())
    try:
        yield
    finally:
        is_loaded.release()
        # A server may fork this process now. A child that the application forked has no watcher.
        has_ended.acquire(timeout=1)
