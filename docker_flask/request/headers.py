"""Checks and adjusts what the application gives to `start_response`.

Servers differ: uWSGI sends line breaks in a status and in a header's name as they are, and the rest
of the text becomes a header that the application has not set. This check is the same for all.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

from docker_flask.request.wsgi_types import Environ, Headers

# Bytes of all headers that nginx.conf and app.ini accept. uWSGI would truncate a longer header, and
# more headers would lead to a 502.
MAX_HEADERS = 64 << 10

# RFC 9110: tabs and bytes above 127 are allowed in a value, other control characters are not.
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_STATUS = re.compile(f"[2-9][0-9]{{2}}(?: {_TEXT})?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(_TEXT)
_LENGTH = "content-length"
# Names that were checked before, up to so many.
_names: set[str] = set()
_MAX_NAMES = 1000


class HeadersTooLarge(Exception):
    """The headers exceed the limit; the message names the largest header and the limit."""


def checked(status: str, headers: Iterable[tuple[str, str]]) -> Headers:
    """A copy of the headers; raises ValueError or TypeError if a client could misunderstand them.

    Codes below 200 are not allowed: a client would wait for another response.
    """
    pairs = [*headers]
    # This runs at each request, and most headers pass these tests, which are the fastest ones.
    values = "".join([value for _, value in pairs])
    if (
        not _is_status(status)
        or not _names.issuperset([name for name, _ in pairs])
        or not (values.isascii() and values.isprintable())
    ):
        _check_each(status, pairs)
    lengths = [value for name, value in pairs if len(name) == 14 and name.lower() == _LENGTH]
    if lengths and not (len(lengths) == 1 and lengths[0].isdecimal() and len(lengths[0]) < 19):
        raise ValueError(f"a response has one Content-Length, a whole number, not {lengths}")
    return pairs


def check_size(environ: Environ, headers: Headers) -> None:
    """Raise HeadersTooLarge if nginx would not accept all headers."""
    if sum([len(name) + len(value) + 4 for name, value in headers]) <= MAX_HEADERS:
        return
    sizes = {name: 0 for name, _ in headers}
    for name, value in headers:
        sizes[name] += len(name) + len(value) + 4
    largest = max(sizes, key=sizes.__getitem__)
    request = f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')!r}"
    raise HeadersTooLarge(
        f"the headers of the response to {request} take {sum(sizes.values()):,} bytes, "
        f"{largest!r} alone {sizes[largest]:,}; allowed are {MAX_HEADERS:,} in total"
    )


def check_bytes(part: Any) -> None:
    """Raise TypeError for a part of a body that uWSGI would drop, with status 200."""
    if not isinstance(part, bytes):
        raise TypeError(f"a body is made of bytes, not of {type(part).__name__}")


@functools.lru_cache
def _is_status(text: str) -> bool:
    return bool(_STATUS.fullmatch(text))


def _check_each(status: str, pairs: Headers) -> None:
    if not _is_status(status):
        raise ValueError(
            f"status {status!r}: a status has a code from 200 to 999, and then one line of text"
        )
    for name, value in pairs:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError(
                f"header {(name, value)!r}: a header has only characters of Latin-1, "
                "no control characters, and no spaces in its name"
            )
        if len(_names) < _MAX_NAMES:
            _names.add(name)
