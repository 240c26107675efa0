"""What HTTP says about a response: may all clients share it, and for how long.

The rules are those of RFC 9111 for a shared cache, with two restrictions: a response must say
`public` or `s-maxage`, and a response with a header that can't be read is not shared.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from docker_flask.request.wsgi_types import Headers

# A response with one of these statuses can be the same for all clients. Not 206 and 304, which are
# parts of a response.
CACHEABLE = frozenset(("200", "203", "204", "300", "301", "302", "307", "308", "404", "410"))
MAX_AGE = 365 * 86400  # s
MAX_VARY = 128  # characters, as in nginx
# nginx has 16 bits for the length of the cache key and the headers together.
_MAX_HEADERS = 32 << 10
_DIRECTIVE = re.compile(r'[\s,]*([\w-]+)(=?)("[^"]*"|[^\s",;]*)\s*(?=,|$)', re.ASCII)
_NAMES = re.compile(r"[A-Za-z0-9-]+(\s*,\s*[A-Za-z0-9-]+)*", re.ASCII)
# nginx.conf changes these headers of a request, so nginx and the application see different values.
_CHANGED = re.compile(
    "authorization|forwarded|host|proxy|transfer-encoding|x-forwarded-.*|x-real-ip|x-request-id"
)


class Policy(NamedTuple):
    """How all clients may share a response.

    fresh: seconds for which it is up to date; length: bytes of its body.
    """

    fresh: int
    length: int


def read(status: str, headers: Headers) -> Policy | None:
    """The policy of a response; None if only the client that requested it may have it."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    if (
        "cache-control" not in values
        or status[:3] not in CACHEABLE
        or "set-cookie" in values
        # Without a length, a response that was cut would look complete.
        or not values.get("content-length", [""])[0].isdecimal()
        or sum(len(name) + len(value) + 4 for name, value in headers) > _MAX_HEADERS
    ):
        return None
    found = _directives(",".join(values["cache-control"]))
    if found is None or found.keys() & {"private", "no-store", "no-cache"}:
        return None
    if "s-maxage" not in found and found.get("public", "no") != "":
        return None
    vary = values.get("vary", [""])
    if len(vary) > 1 or not _is_known_to_nginx(vary[0]):
        return None
    stale = {name: text for name, text in found.items() if name.startswith("stale-")}
    if stale and found.keys() & {"must-revalidate", "proxy-revalidate"}:
        return None
    fresh = found.get("s-maxage", found.get("max-age", ""))
    if not all(re.fullmatch("[0-9]{1,9}", text) for text in (fresh, *stale.values())):
        return None
    length = int(values["content-length"][0])
    return Policy(min(int(fresh), MAX_AGE), length) if int(fresh) else None


def _directives(text: str) -> dict[str, str] | None:
    """The directives of Cache-Control; None if one can't be read or two contradict each other."""
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


def _is_known_to_nginx(vary: str) -> bool:
    """True if nginx sees the same values of these request headers as the application."""
    if not vary:
        return True
    if len(vary) > MAX_VARY or not _NAMES.fullmatch(vary):
        return False
    return not any(_CHANGED.fullmatch(name.strip().lower()) for name in vary.split(","))
