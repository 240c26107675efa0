"""Checks what the application gives to `start_response`.

Servers differ: uWSGI sends line breaks in a status and in a header's name as they are, and the rest
of the text becomes a header that the application has not set. This check is the same for all.
"""

import functools
import re
from collections.abc import Iterable

from docker_flask.worker.middleware.wsgi_types import Headers

# Bytes of all headers that nginx.conf and app.ini accept. uWSGI would truncate a longer header, and
# more headers would lead to a 502.
MAX_HEADERS = 64 << 10

# RFC 9110: tabs and bytes above 127 are allowed in a value, other control characters are not.
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_is_status = functools.lru_cache(re.compile(f"[2-9][0-9]{{2}}(?: {_TEXT})?").fullmatch)
_is_name = functools.lru_cache(re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch)
_VALUE = re.compile(_TEXT)


def checked(status: str, headers: Iterable[tuple[str, str]]) -> Headers:
    """A copy of the headers; raises an exception if a client could misunderstand them.

    Codes below 200 are not allowed: a client would wait for another response.
    """
    if not _is_status(status):
        raise ValueError(
            f"status {status!r}: a status has a code from 200 to 999, and then one line of text"
        )
    pairs, size, lengths = [*headers], 0, 0
    # This runs at each request, and most values pass the first two tests, which are the fastest.
    for name, value in pairs:
        is_value = (value.isprintable() and value.isascii()) or _VALUE.fullmatch(value)
        if not (is_value and _is_name(name)):
            raise ValueError(
                f"header {(name, value)!r}: a header has only characters of Latin-1, "
                "no control characters, and no spaces in its name"
            )
        size += len(name) + len(value) + 4
        if len(name) == 14 and name.lower() == "content-length":
            lengths += 1
            if lengths > 1 or not (value.isascii() and value.isdecimal() and len(value) < 19):
                raise ValueError(f"a response has one Content-Length, a whole number, not {value}")
    if size > MAX_HEADERS:
        name, value = max(pairs, key=lambda pair: len(pair[1]))
        raise ValueError(
            f"the headers of a response take {size:,} bytes, {name!r} alone {len(value):,}; "
            f"allowed are {MAX_HEADERS:,} in total"
        )
    return pairs
