"""Marks the responses that all clients may share: nginx stores those only.

docker_flask/request/cache_policy.py decides which they are. nginx stores a response with the header
X-Accel-Expires, and only this module sets that header.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from docker_flask import paths
from docker_flask.request import cache_policy
from docker_flask.request.exchange import Exchange, Handler
from docker_flask.request.wsgi_types import Environ
from docker_flask.worker_options import WorkerOptions

# nginx's header for this module: what its cache has found, empty if the request does not use the
# cache; and behind a tab what the cache key has of the proxies' headers.
CACHE_HEADER = "HTTP_X_RESPONSE_CACHE"
_FORWARDED = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("PROTO", "HOST", "PORT", "PREFIX"))
# nginx applies these to the whole page.
_CONDITIONS = tuple(
    f"HTTP_{name}"
    for name in (
        *("IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE", "IF_UNMODIFIED_SINCE"),
        "RANGE",
    )
)


class Cache:
    """What one worker tells nginx's cache."""

    def __init__(self, handler: Handler, options: WorkerOptions) -> None:
        self._handler = handler
        self._folder = options.cache_folder
        self._max_size = options.max_cached_page
        self._is_proxied = bool(options.trusted_proxies)
        self._has_told_nginx = False

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        seen = environ.pop(CACHE_HEADER, "")
        if seen and seen[0] != "\t" and environ["REQUEST_METHOD"] == "GET":
            found, _, forwarded = seen.partition("\t")
            exchange.may_cache = not self._is_proxied or _same_proxies(environ, forwarded)
            if found == "EXPIRED":  # the page is expired, and the application has to make all of it
                for name in _CONDITIONS:
                    environ.pop(name, None)
        return self._handler(exchange)

    def mark(self, exchange: Exchange, names: set[str]) -> None:
        """Let nginx store the response, or from the first such response on look for pages."""
        if "cache-control" not in names or (self._has_told_nginx and not exchange.may_cache):
            return
        policy = cache_policy.read(exchange.status, exchange.headers)
        if policy is None:
            return
        if not exchange.may_cache:
            self._tell_nginx()
        elif self._has_room(policy.length):
            exchange.headers = [*exchange.headers, ("X-Accel-Expires", str(policy.fresh))]
            if "date" not in names:
                from email.utils import formatdate  # slow to import

                # From the date, other caches compute the page's age.
                exchange.headers.append(("Date", formatdate(usegmt=True)))

    def _tell_nginx(self) -> None:
        with contextlib.suppress(OSError), open(Path(self._folder).parent / paths.SHARING, "a"):
            self._has_told_nginx = True

    def _has_room(self, size: int) -> bool:
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


def _same_proxies(environ: Environ, forwarded: str) -> bool:
    """False if the request has such a header twice, and nginx took the other one."""
    seen = "\t".join([environ.get(name, "") for name in _FORWARDED])
    return forwarded.rstrip() == seen.rstrip()
