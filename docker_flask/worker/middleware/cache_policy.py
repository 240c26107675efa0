"""What HTTP says about a response: may all clients share it, and for how long.

The rules are those of RFC 9111 for a shared cache, with restrictions: a response must say `public`
or `s-maxage`, and what is not plain to read is not shared.
"""

import re

from docker_flask.worker.middleware.wsgi_types import Headers

# A response with one of these statuses can be the same for all clients. Not 206 and 304, which are
# parts of a response.
CACHEABLE = frozenset(("200", "203", "204", "300", "301", "302", "307", "308", "404", "410"))
MAX_AGE = 365 * 86400  # s
MAX_VARY = 128  # characters, as in nginx
# nginx has 16 bits for the length of the cache key and the headers together.
_MAX_HEADERS = 32 << 10
# A header of a request in Vary. nginx.conf changes the excluded ones, so nginx and the application
# see different values.
_VARY = re.compile(
    r"(?!x-forwarded-|(?:authorization|forwarded|host|proxy|transfer-encoding|x-real-ip"
    r"|x-request-id)$)[a-z0-9-]+",
    re.ASCII,
)


def fresh_for(status: str, headers: Headers) -> int:
    """Seconds for which all clients may share a response; 0 if only its client may have it."""
    values = {name.lower(): value.lower() for name, value in headers}
    if (
        status[:3] not in CACHEABLE
        or "set-cookie" in values
        # Without a length, a response that was cut would look complete.
        or "content-length" not in values
        or sum(len(name) + len(value) + 4 for name, value in headers) > _MAX_HEADERS
        # A header that stands there twice could contradict itself.
        or len(values) < len(headers)
    ):
        return 0
    found = _directives(values.get("cache-control", ""))
    if found.keys() & {"private", "no-store", "no-cache"}:
        return 0
    if "s-maxage" not in found and found.get("public", "no") != "":
        return 0
    vary = values.get("vary", "accept")
    if len(vary) > MAX_VARY or not all(_VARY.fullmatch(name.strip()) for name in vary.split(",")):
        return 0
    stale = {name: text for name, text in found.items() if name.startswith("stale-")}
    if stale and found.keys() & {"must-revalidate", "proxy-revalidate"}:
        return 0
    fresh = found.get("s-maxage", found.get("max-age", ""))
    is_plain = all(re.fullmatch("[0-9]{1,9}", text) for text in (fresh, *stale.values()))
    return min(int(fresh), MAX_AGE) if is_plain else 0


def _directives(text: str) -> dict[str, str]:
    """The directives of Cache-Control; `private` for one with quotes, or one that stands twice."""
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    found = {name: value for name, _, value in parts}
    return found if '"' not in text and len(found) == len(parts) else {"private": ""}
