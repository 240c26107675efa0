"""Pages that everybody may share: nginx keeps those that the application marks so, and these alone.

Which they are is decided here, in the worker, where headers can be read as they are meant; nginx
stores what comes with an X-Accel-Expires, and that header is this module's only. Whatever is not
understood is not shared.

Workers tell each other, by a table in memory, which pages nginx has and which are being made. A
request for such a page that reaches a worker all the same came too early to find it: it waits for
that worker, and looks again. nginx could only make all requests for the same address wait,
also those that turn out to be nobody else's business, and for half a second.

Standard library only, because it runs in the application's Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import struct
import time
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from docker_flask.worker.wsgi_types import Environ, Headers
from docker_flask.worker_options import WorkerOptions

# What the supervisor calls the table, which is a file in memory.
TABLE = "docker-flask-pages"
# The file beside nginx's folder for pages by which it knows that there are any.
SHARING = "sharing"
# What nginx.conf says of a request: what its cache has found, and behind a slash the status of each
# answer that sent it here again; then what its key has of the proxies' words.
SAID = "HTTP_X_RESPONSE_CACHE"
_FORWARDED = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("PROTO", "HOST", "PORT", "PREFIX"))
# Locations of nginx.conf: to look again, and to answer with what is too old.
_AGAIN, _STALE = "@application", "@stale"

# Answers that can be the same for everybody: not parts of one (206, 304), nor errors of the server.
_STATUS = frozenset(("200", "203", "204", "300", "301", "302", "307", "308", "404", "410"))
_ERRORS = frozenset(("500", "502", "503", "504"))
_DIRECTIVE = re.compile(r'[\s,]*([\w-]+)(=?)("[^"]*"|[^\s",;]*)\s*(?=,|$)', re.ASCII)
_NAMES = re.compile(r"[A-Za-z0-9-]+(\s*,\s*[A-Za-z0-9-]+)*", re.ASCII)
# Headers that nginx compares with those of the client, but the application got another way.
_REWRITTEN = re.compile(
    "authorization|forwarded|host|proxy|transfer-encoding|x-forwarded-.*|x-real-ip|x-request-id"
)
# Answered by nginx of a page that it has: the whole page is to come from here.
_CONDITIONS = tuple(
    f"HTTP_{name}"
    for name in (
        *("IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE", "IF_UNMODIFIED_SINCE"),
        "RANGE",
    )
)
LONGEST = 365 * 86400  # s
# nginx keeps the length of the headers in 16 bits, with the key before them.
_MOST_HEADERS = 32 << 10
_MOST_VARY = 47

_SLOT = struct.Struct(f"=B7sddd{_MOST_VARY + 1}p")
_SLOTS = 4096
_LOOK = 0.005  # s
_MOST_PATIENCE = 10.0  # s


class Share(NamedTuple):
    """For how many seconds everybody may have an answer, also as a stand-in; and its Vary."""

    fresh: int
    stale: int
    vary: str


def share(status: str, headers: Headers) -> Share | None:
    """What an answer's headers allow; None if it is for whoever asked only."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    if (
        "cache-control" not in values
        or status[:3] not in _STATUS
        or "set-cookie" in values
        # One that ends too early could not be told from one that is whole.
        or "content-length" not in values
        or sum(len(name) + len(value) + 4 for name, value in headers) > _MOST_HEADERS
    ):
        return None
    found = _directives(",".join(values["cache-control"]))
    if found is None or found.keys() & {"private", "no-store", "no-cache"}:
        return None
    if "s-maxage" not in found and found.get("public", "no") != "":
        return None
    vary = values.get("vary", [""])
    if len(vary) > 1 or not _may_vary(vary[0]):
        return None
    stale = {name: text for name, text in found.items() if name.startswith("stale-")}
    if stale and found.keys() & {"must-revalidate", "proxy-revalidate"}:
        return None
    fresh = found.get("s-maxage", found.get("max-age", ""))
    error = stale.get("stale-if-error", stale.get("stale-while-revalidate", "0"))
    if not all(re.fullmatch("[0-9]{1,9}", text) for text in (fresh, *stale.values())):
        return None
    return Share(min(int(fresh), LONGEST), int(error), vary[0]) if int(fresh) else None


def _directives(text: str) -> dict[str, str] | None:
    """The directives of Cache-Control, None if they can't be read or contradict each other."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip(", \t")):
        match = _DIRECTIVE.match(text, position)
        if not match:
            return None
        name, value = match[1].lower(), match[3] or match[2]
        if found.setdefault(name, value) != value:
            return None
        position = match.end()
    return found


def _may_vary(vary: str) -> bool:
    """True if nginx tells requests apart by these headers as the application does."""
    if not vary:
        return True
    if len(vary) > _MOST_VARY or not _NAMES.fullmatch(vary):
        return False
    return not any(_REWRITTEN.fullmatch(name.strip().lower()) for name in vary.split(","))


class Known(NamedTuple):
    """A page's slot in the table, and what stands there: when it was made, until when it is fresh
    and may stand in for an error (Unix time), and its Vary."""

    slot: int
    made: float
    fresh: float
    stale: float
    vary: str


def join(options: WorkerOptions) -> Pages | None:
    """The table, as this worker's options describe it; None if nginx keeps nothing."""
    table = options.cache_table_fd
    # uWSGI's own reload (py-autoreload) closes it, and its number is given to something else.
    if not options.cache_folder or TABLE not in _name(table):
        return None
    os.truncate(table, _SLOT.size * _SLOTS)
    return Pages(
        *(table, options.cache_folder, options.max_cached_page, bool(options.trusted_proxies)),
        # Servers of HTTP set one themselves.
        dates=not options.client_header,
    )


def _name(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


class Pages:
    """The table, as one worker has it.

    Nothing depends on it but the number of calls: a slot that two pages have in common, or that is
    read while it is written, sends nginx to look for a page that is not there.
    """

    def __init__(
        self, table: int, folder: str, largest: int, behind_proxies: bool, dates: bool
    ) -> None:
        """table: its descriptor; folder: where nginx keeps pages, up to so many bytes each; dates:
        answers are to be given one."""
        self.dates = dates
        self._descriptor = table
        self._table = mmap.mmap(table, _SLOT.size * _SLOTS)
        self._folder = folder
        self._largest = largest
        self._behind_proxies = behind_proxies
        # Whether there was a page to share; until then, nginx does not look for any.
        self._shares = False
        # The kernel's locks are between processes; these are between threads.
        self._locked: dict[int, object] = {}

    def asked(self, environ: Environ) -> Page | None:
        """The page that is asked for, None if the cache has no say in it."""
        said = environ.pop(SAID, "/")
        if not said or said[0] == "/" or environ["REQUEST_METHOD"] != "GET":
            return None
        said, _, forwarded = said.partition("\t")
        if self._behind_proxies:
            seen = "\t".join([environ.get(name, "") for name in _FORWARDED])
            if forwarded.rstrip() != seen.rstrip():
                return None  # such a header stands there twice, and nginx took another one
        # Not as exact as nginx's own, nor need it be.
        host, path = environ.get("HTTP_HOST"), environ["PATH_INFO"]
        query, scheme = environ.get("QUERY_STRING"), environ["wsgi.url_scheme"]
        key = f"{scheme}\n{host}\n{path}\n{query}\n{forwarded}"
        page = Page(self, environ, said, key)
        if page.expired:
            # nginx answers these itself, of the whole page.
            for name in _CONDITIONS:
                environ.pop(name, None)
        return page

    def notice(self, status: str, headers: Headers) -> None:
        """Have nginx look for pages from the first one on that could be shared."""
        if self._shares or not share(status, headers):
            return
        with contextlib.suppress(OSError), open(Path(self._folder).parent / SHARING, "a"):
            self._shares = True

    def find(self, key: str, environ: Environ) -> Known | None:
        """What is known of a page."""
        known = self._read(key)
        return self._read(_variant(key, known.vary, environ)) if known and known.vary else known

    def note(self, key: str, environ: Environ, share: Share) -> None:
        """Have all workers know a page, that was just sent."""
        now = time.time()
        times = now, now + share.fresh, now + share.fresh + share.stale
        self._write(key, *times, share.vary)
        if share.vary:
            self._write(_variant(key, share.vary, environ), *times)

    def forget(self, slot: int) -> None:
        """Know nothing of the page in a slot."""
        self._table[slot : slot + _SLOT.size] = bytes(_SLOT.size)

    def lock(self, slot: int, owner: object) -> bool:
        """Take a page upon oneself; false if somebody else has."""
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

    def has_room(self, size: int) -> bool:
        """False if a page of so many bytes might fill the disk, which would cut it short."""
        if size > self._largest:
            return False
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return False
        # Some file systems have no number of files.
        files = disk.f_favail or not disk.f_files
        return bool(files) and disk.f_bavail * disk.f_frsize > self._largest + size

    def _read(self, key: str) -> Known | None:
        slot = _slot(key)
        if not self._table[slot]:
            return None
        _, tag, made, fresh, stale, vary = _SLOT.unpack_from(self._table, slot)
        if tag != _tag(key):
            return None
        return Known(slot, made, fresh, stale, vary.decode("ascii", "replace"))

    def _write(self, key: str, made: float, fresh: float, stale: float, vary: str = "") -> None:
        _SLOT.pack_into(self._table, _slot(key), 1, _tag(key), made, fresh, stale, vary.encode())


def _slot(key: str) -> int:
    return zlib.crc32(key.encode("latin-1", "replace")) % _SLOTS * _SLOT.size


def _tag(key: str) -> bytes:
    return blake2b(key.encode("latin-1", "replace"), digest_size=7).digest()


def _variant(key: str, vary: str, environ: Environ) -> str:
    names = [f"HTTP_{name.strip().upper().replace('-', '_')}" for name in vary.split(",")]
    return "\n".join([key, vary, *(environ.get(name, "") for name in names)])


class Page:
    """One request that the cache has a say in, and what comes of it."""

    __slots__ = (
        *("_environ", "_key", "_locked", "_looks", "_pages", "_status"),
        *("expired", "known", "shared"),
    )

    def __init__(self, pages: Pages, environ: Environ, said: str, key: str) -> None:
        self._pages = pages
        self._environ = environ
        self._key = key
        self._looks = said.count("200")
        self._locked = False
        self._status = ""
        # nginx has it, but it is too old.
        self.expired = said.startswith("EXPIRED")
        # What was known of it when the request came.
        self.known = pages.find(key, environ)
        # How far its answer is to be shared.
        self.shared: Share | None = None

    def elsewhere(self) -> Headers | None:
        """What has nginx look again, if the page is there by now; waits for whoever makes it."""
        known = self.known
        if not known:
            return None
        if known.fresh > time.time() and not self._looks:
            return self._again()
        if self._looks > 1:
            return None
        waited, deadline = False, time.monotonic() + _MOST_PATIENCE
        while not self._pages.lock(known.slot, self):
            if time.monotonic() > deadline or not self._pages.find(self._key, self._environ):
                return None
            time.sleep(_LOOK)
            waited = True
        latest = self._pages.find(self._key, self._environ)
        if latest and latest.made > known.made:
            self._pages.unlock(known.slot)
            return self._again()
        if waited:
            # Nothing came of it. All who waited go on, not one after the other.
            self._pages.unlock(known.slot)
        else:
            self._locked = True
        return None

    def _again(self) -> Headers:
        # Where nginx is several processes, one may be storing the page still.
        time.sleep(_LOOK)
        return [("X-Accel-Redirect", _AGAIN)]

    def answered(self, status: str, headers: Headers) -> Headers:
        """What has nginx keep this answer, if it is to be shared."""
        self._status = status[:3]
        found = share(status, headers)
        length = next((value for name, value in headers if name.lower() == "content-length"), "")
        if not found or not length.isdecimal() or not self._pages.has_room(int(length)):
            return []
        self.shared = found
        marked = [("X-Accel-Expires", str(found.fresh))]
        if self._pages.dates and all(name.lower() != "date" for name, _ in headers):
            from email.utils import formatdate  # takes longer to load than all else here

            # By its age, whoever keeps it next knows when it is too old.
            marked.append(("Date", formatdate(usegmt=True)))
        return marked

    def stand_in(self, status: str) -> Headers | None:
        """What has nginx answer with the page that it has, where an error is worse than its age."""
        self._status = status[:3]
        if not self.known or not self.expired or self._status not in _ERRORS:
            return None
        # nginx counts in whole seconds.
        if self.known.stale - 1 < time.time():
            return None
        return [("X-Accel-Redirect", _STALE)]

    def end(self, complete: bool) -> None:
        """The answer was sent, or it was broken off."""
        if complete and self.shared:
            self._pages.note(self._key, self._environ, self.shared)
        elif complete and self.known and self._status in _STATUS:
            self._pages.forget(self.known.slot)
        if self._locked and self.known:
            self._pages.unlock(self.known.slot)
