"""Responses that all clients may share: the worker marks them, and nginx caches those only.

docker_flask/worker/cache_policy.py decides which they are. nginx stores a response with the header
X-Accel-Expires, and only this module sets that header.

The workers have a table in shared memory: which pages nginx has, and which are being made. If a
request for such a page reaches a worker, it came too early for nginx to find the page: it waits for
the worker that makes the page, and nginx looks again.

nginx's own means can't replace the table. Measured with 12 requests at a time:

- An expired page: the application was called 12 times, with `cache_lock` as well, because that is
  for pages that nginx does not have yet. With the table it is called once.
- `cache_lock` makes private responses for one address wait for each other: 12 requests of 1 s took
  6.3 s instead of 1.1 s.
- `cache_use_stale updating` calls the application once, but all other clients get an expired page,
  though the application did not allow it.
- nginx's `stale-if-error` does not apply to a 500 of the application.
- When the disk is full, nginx cuts the response that it is storing.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from docker_flask import paths
from docker_flask.worker import cache_policy
from docker_flask.worker.cache_policy import Policy
from docker_flask.worker.wsgi_types import Environ, Headers
from docker_flask.worker_options import WorkerOptions

# The supervisor's name for the table, which is a file in memory.
TABLE = "docker-flask-pages"
# nginx's header for this module: `CACHE STATUS/STATUSES`, and behind a tab what the cache key has
# of the proxies' headers. STATUSES are those of the responses that made nginx look again.
CACHE_HEADER = "HTTP_X_RESPONSE_CACHE"
_FORWARDED = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("PROTO", "HOST", "PORT", "PREFIX"))
# Locations of nginx.conf: to look again, and to respond with an expired page.
_LOOK_AGAIN, _STALE = "@application", "@stale"
# nginx applies these to the whole page.
_CONDITIONS = tuple(
    f"HTTP_{name}"
    for name in (
        *("IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE", "IF_UNMODIFIED_SINCE"),
        "RANGE",
    )
)
# A slot of the table: used or not, hash of the key, three times, Vary.
_SLOT = struct.Struct(f"=B7sddd{cache_policy.MAX_VARY + 1}p")
_SLOTS = 4096
_POLL = 0.005  # s
_MAX_WAIT = 10.0  # s


class Known(NamedTuple):
    """What the table has about a page: its slot, when it was made, until when it is fresh, until
    when it may replace an error (Unix time), and its Vary."""

    slot: int
    made: float
    fresh: float
    stale: float
    vary: str


class Table:
    """The table in shared memory.

    Pages may share a slot, and a slot may change while it is read. Then nginx looks for a page that
    it does not have, and the application is called once more.
    """

    def __init__(self, descriptor: int) -> None:
        os.truncate(descriptor, _SLOT.size * _SLOTS)
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SLOT.size * _SLOTS)
        # The kernel's locks are between processes, these are between threads.
        self._locked: dict[int, object] = {}

    def find(self, key: str, environ: Environ) -> Known | None:
        """What is known about a page."""
        known = self._read(key)
        return self._read(_variant(key, known.vary, environ)) if known and known.vary else known

    def add(self, key: str, environ: Environ, policy: Policy) -> None:
        """Add a page that nginx has from now on."""
        now = time.time()
        times = now, now + policy.fresh, now + policy.fresh + policy.stale
        self._write(key, *times, policy.vary)
        if policy.vary:
            self._write(_variant(key, policy.vary, environ), *times)

    def clear(self, slot: int) -> None:
        self._memory[slot : slot + _SLOT.size] = bytes(_SLOT.size)

    def lock(self, slot: int, owner: object) -> bool:
        """Lock a slot, to make its page; false if another request has the lock."""
        if self._locked.setdefault(slot, owner) is not owner:
            return False
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            del self._locked[slot]
            return False
        return True

    def unlock(self, slot: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, slot)
        del self._locked[slot]

    def _read(self, key: str) -> Known | None:
        slot = _slot(key)
        if not self._memory[slot]:
            return None
        _, tag, made, fresh, stale, vary = _SLOT.unpack_from(self._memory, slot)
        if tag != _hash(key):
            return None
        return Known(slot, made, fresh, stale, vary.decode("ascii", "replace"))

    def _write(self, key: str, made: float, fresh: float, stale: float, vary: str = "") -> None:
        _SLOT.pack_into(self._memory, _slot(key), 1, _hash(key), made, fresh, stale, vary.encode())


def _slot(key: str) -> int:
    return zlib.crc32(key.encode("latin-1", "replace")) % _SLOTS * _SLOT.size


def _hash(key: str) -> bytes:
    return blake2b(key.encode("latin-1", "replace"), digest_size=7).digest()


def _variant(key: str, vary: str, environ: Environ) -> str:
    """The key of the page for a request with these headers."""
    names = [f"HTTP_{name.strip().upper().replace('-', '_')}" for name in vary.split(",")]
    return "\n".join([key, vary, *(environ.get(name, "") for name in names)])


def join(options: WorkerOptions) -> Pages | None:
    """The cached pages, by the worker's options; None if nginx has no cache."""
    # uWSGI's own reload (py-autoreload) closes the table, and another file may get its number.
    if not options.cache_folder or TABLE not in _name(options.cache_table_fd):
        return None
    return Pages(Table(options.cache_table_fd), options)


def _name(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


class Pages:
    """The cached pages, as one worker sees them."""

    def __init__(self, table: Table, options: WorkerOptions) -> None:
        self.table = table
        self._folder = options.cache_folder
        self._max_size = options.max_cached_page
        self._is_proxied = bool(options.trusted_proxies)
        self._has_told_nginx = False

    def page_of(self, environ: Environ) -> Page | None:
        """The page that is requested; None if the request does not use the cache."""
        header = environ.pop(CACHE_HEADER, "/")
        if not header or header[0] == "/" or environ["REQUEST_METHOD"] != "GET":
            return None
        found, _, forwarded = header.partition("\t")
        if self._is_proxied:
            seen = "\t".join([environ.get(name, "") for name in _FORWARDED])
            if forwarded.rstrip() != seen.rstrip():
                return None  # the request has such a header twice, and nginx took the other one
        # Less exact than nginx's own key: the table only saves calls.
        host, path = environ.get("HTTP_HOST"), environ["PATH_INFO"]
        query, scheme = environ.get("QUERY_STRING"), environ["wsgi.url_scheme"]
        key = f"{scheme}\n{host}\n{path}\n{query}\n{forwarded}"
        page = Page(self, environ, found, key)
        if page.is_expired:
            for name in _CONDITIONS:
                environ.pop(name, None)
        return page

    def announce(self, status: str, headers: Headers) -> None:
        """Make nginx look into its cache, from the first response on that can be shared."""
        if self._has_told_nginx or not cache_policy.read(status, headers):
            return
        with contextlib.suppress(OSError), open(Path(self._folder).parent / paths.SHARING, "a"):
            self._has_told_nginx = True

    def has_room(self, size: int) -> bool:
        """False if a page of this size might fill the disk: nginx would cut its response."""
        if size > self._max_size:
            return False
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return False
        # Some file systems do not count their files.
        has_files = disk.f_favail or not disk.f_files
        return bool(has_files) and disk.f_bavail * disk.f_frsize > self._max_size + size


class Page:
    """One request that uses the cache, and its response.

    is_expired: nginx has the page, but it is too old. known: what the table had when the request
    came. shared: the policy of the response, if all clients may have it.
    """

    __slots__ = (
        *("_environ", "_is_locked", "_key", "_looks", "_pages", "_status", "_table"),
        *("is_expired", "known", "shared"),
    )

    def __init__(self, pages: Pages, environ: Environ, found: str, key: str) -> None:
        self._pages = pages
        self._table = pages.table
        self._environ = environ
        self._key = key
        self._looks = found.count("200")
        self._is_locked = False
        self._status = ""
        self.is_expired = found.startswith("EXPIRED")
        self.known = self._table.find(key, environ)
        self.shared: Policy | None = None

    def look_again(self) -> Headers | None:
        """The response that makes nginx look again, if nginx has the page now.

        If another request makes the page, this one waits for it.
        """
        known = self.known
        if not known:
            return None
        if known.fresh > time.time() and not self._looks:
            return _look_again()
        if self._looks > 1:
            return None
        has_waited, deadline = False, time.monotonic() + _MAX_WAIT
        while not self._table.lock(known.slot, self):
            if time.monotonic() > deadline or not self._table.find(self._key, self._environ):
                return None
            time.sleep(_POLL)
            has_waited = True
        latest = self._table.find(self._key, self._environ)
        if latest and latest.made > known.made:
            self._table.unlock(known.slot)
            return _look_again()
        if has_waited:
            # The other request made no page. All that waited for it go on at the same time.
            self._table.unlock(known.slot)
        else:
            self._is_locked = True
        return None

    def store(self, status: str, headers: Headers) -> Headers:
        """The headers that make nginx store the response, if all clients may share it."""
        self._status = status[:3]
        policy = cache_policy.read(status, headers)
        length = next((value for name, value in headers if name.lower() == "content-length"), "")
        if not policy or not length.isdecimal() or not self._pages.has_room(int(length)):
            return []
        self.shared = policy
        added = [("X-Accel-Expires", str(policy.fresh))]
        if all(name.lower() != "date" for name, _ in headers):
            from email.utils import formatdate  # slow to import

            # From the date, other caches compute the page's age.
            added.append(("Date", formatdate(usegmt=True)))
        return added

    def replace_error(self, status: str) -> Headers | None:
        """The response that makes nginx send the expired page, if that may replace this error."""
        self._status = status[:3]
        if not self.known or not self.is_expired or self._status not in cache_policy.ERRORS:
            return None
        # nginx counts in whole seconds.
        if self.known.stale - 1 < time.time():
            return None
        return [("X-Accel-Redirect", _STALE)]

    def end(self, complete: bool) -> None:
        """The response was sent, or it was cut."""
        if complete and self.shared:
            self._table.add(self._key, self._environ, self.shared)
        elif complete and self.known and self._status in cache_policy.CACHEABLE:
            self._table.clear(self.known.slot)
        if self._is_locked and self.known:
            self._table.unlock(self.known.slot)


def _look_again() -> Headers:
    time.sleep(_POLL)  # another process of nginx may still be storing the page
    return [("X-Accel-Redirect", _LOOK_AGAIN)]
