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
# In a response of another server, which the application passes on, these describe another
# connection, or direct nginx: to send a file, to store the page. nginx gets only the image's own.
FOREIGN = ("transfer-encoding", "x-accel-")
# Characters of a name; names that are kept: an application may invent one for each response.
MAX_NAME, MAX_NAMES = 1000, 1000

# RFC 9110: tabs and bytes above 127 are allowed in a value, other control characters are not.
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_VALUE = re.compile(_TEXT)
_NAME = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_NAME}}}")
_is_status = functools.lru_cache(re.compile(f"[2-9][0-9]{{2}}(?: {_TEXT})?").fullmatch)


class _Names(dict[str, str]):
    """The name of each header in lower case; empty for a foreign header."""

    def __missing__(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"header {name!r}: a name has 1 to {MAX_NAME:,} letters, digits or signs of ASCII, "
                "and no spaces"
            )
        lower = "" if name.lower().startswith(FOREIGN) else name.lower()
        if len(self) < MAX_NAMES:
            self[name] = lower
        return lower


_names = _Names()


def checked(status: str, headers: Iterable[tuple[str, str]]) -> tuple[Headers, list[str]]:
    """The headers without foreign ones, and their names in lower case.

    Raises an exception if a client could misunderstand the response. Codes below 200 are not
    allowed: a client would wait for another response.
    """
    # This runs at each request. The values of most responses pass as one text.
    pairs, names, text = [*headers], [], ""
    for name, value in pairs:
        names.append(_names[name])
        text += value
    if not (
        _is_status(status)
        and text.isascii()
        and text.isprintable()
        and len(text) + MAX_NAME * len(names) < MAX_HEADERS
    ):
        _examine(status, pairs)
    if "" in names:
        pairs = [pair for pair, name in zip(pairs, names, strict=True) if name]
        names = [*filter(None, names)]
    if "content-length" in names:
        value = pairs[names.index("content-length")][1]
        is_whole = value.isascii() and value.isdecimal() and len(value) < 19
        if not is_whole or names.count("content-length") > 1:
            raise ValueError(f"a response has one Content-Length, a whole number, not {value}")
    return pairs, names


def _examine(status: str, pairs: Headers) -> None:
    """Raise an exception if the status or a value is not allowed, or if all are too large."""
    if not _is_status(status):
        raise ValueError(
            f"status {status!r}: a status has a code from 200 to 999, and then one line of text"
        )
    for pair in pairs:
        if not _VALUE.fullmatch(pair[1]):
            raise ValueError(
                f"header {pair!r}: a value has characters of Latin-1, and no control characters"
            )
    size = sum(len(name) + len(value) + 4 for name, value in pairs)
    if size > MAX_HEADERS:
        name, value = max(pairs, key=lambda pair: len(pair[1]))
        raise ValueError(
            f"the headers of a response take {size:,} bytes, {name!r} alone {len(value):,}; "
            f"allowed are {MAX_HEADERS:,} in total"
        )
