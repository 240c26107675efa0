"""Marks the responses that all clients may share: nginx stores those only.

cache_policy.py decides which they are. nginx stores a response with the header
X-Accel-Expires, and only this module sets that header.
"""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from docker_flask.shared import paths
from docker_flask.shared.worker_options import WorkerOptions
from docker_flask.worker.middleware import cache_policy
from docker_flask.worker.middleware.exchange import Exchange, Handler
from docker_flask.worker.middleware.wsgi_types import Environ, Headers

# nginx's header for this module: what its cache has found, empty if the request does not use the
# cache; and behind a tab what the cache key has of the proxies' headers.
CACHE_HEADER = "HTTP_X_RESPONSE_CACHE"
_FORWARDED = tuple(f"HTTP_X_FORWARDED_{name}" for name in ("PROTO", "HOST", "PORT", "PREFIX"))
# nginx applies these to the whole page.
_CONDITIONS = (
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_RANGE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_RANGE",
)


class Cache:
    """What one worker tells nginx's cache."""

    def __init__(self, handler: Handler, options: WorkerOptions) -> None:
        self._handler = handler
        self._folder = options.cache_folder
        self._max_size = options.max_cached_page
        self._is_proxied = bool(options.trusted_proxies)
        # nginx looks for pages if this file exists.
        self._sharing = Path(self._folder).parent / paths.SHARING
        self._has_told_nginx = False

    def handle(self, exchange: Exchange) -> Iterable[bytes]:
        environ = exchange.environ
        seen = environ.pop(CACHE_HEADER, "")
        # With HTTP/2, nginx learns too late that a request has a body.
        has_body = environ.get("CONTENT_LENGTH", "0").strip("0")
        if seen and seen[0] != "\t" and environ["REQUEST_METHOD"] == "GET" and not has_body:
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
        fresh = cache_policy.fresh_for(exchange.status, exchange.headers)
        if not fresh:
            return
        if not exchange.may_cache:
            with contextlib.suppress(OSError), open(self._sharing, "a"):
                self._has_told_nginx = True
        elif self._has_room(exchange.headers):
            exchange.headers = [*exchange.headers, ("X-Accel-Expires", str(fresh))]
            if "date" not in names:
                from email.utils import formatdate  # slow to import

                # From the date, other caches compute the page's age.
                exchange.headers.append(("Date", formatdate(usegmt=True)))

    def _has_room(self, headers: Headers) -> bool:
        """False if the page might fill the disk: nginx would cut its response."""
        size = next(int(value) for name, value in headers if name.lower() == "content-length")
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self._folder).free
            return size <= self._max_size and free > self._max_size + size
        return False


def _same_proxies(environ: Environ, forwarded: str) -> bool:
    """False if the request has such a header twice, and nginx took the other one."""
    seen = "\t".join([environ.get(name, "") for name in _FORWARDED])
    return forwarded.rstrip() == seen.rstrip()
