"""Checks the status and the headers that the application gives to `start_response`.

Servers differ: uWSGI sends line breaks in a status and in a header's name as they are, and the rest
of the text becomes a header that the application has not set. This check is the same for all.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from itertools import chain

from docker_flask.worker.wsgi_types import Headers

# RFC 9110: tabs and bytes above 127 are allowed in a value, other control characters are not.
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_STATUS = re.compile(f"[2-9][0-9]{{2}}(?: {_TEXT})?")
_LINE = re.compile(f"{_NAME}\n{_TEXT}\n")
_LINES = re.compile(f"(?:{_LINE.pattern})*")
_LENGTH = "content-length"


def checked(status: str, headers: Iterable[tuple[str, str]]) -> Headers:
    """A copy of the headers; raises ValueError or TypeError if a client could misunderstand them.

    Codes below 200 are not allowed: a client would wait for another response.
    """
    pairs = [*headers]
    # One match for all headers, because this runs at each request.
    lines = "\n".join([*chain.from_iterable(pairs), ""])
    if (
        not _is_status(status)
        or not _LINES.fullmatch(lines)
        or lines.count("\n") != 2 * len(pairs)  # none within a name
    ):
        raise ValueError(_describe(status, pairs))
    lengths = [value for name, value in pairs if len(name) == 14 and name.lower() == _LENGTH]
    if lengths and not (len(lengths) == 1 and lengths[0].isdecimal() and len(lengths[0]) < 19):
        raise ValueError(f"a response has one Content-Length, a whole number, not {lengths}")
    return pairs


@functools.lru_cache
def _is_status(text: str) -> bool:
    return bool(_STATUS.fullmatch(text))


def _describe(status: str, pairs: Headers) -> str:
    if not _is_status(status):
        return f"status {status!r}: a status has a code from 200 to 999, and then one line of text"
    bad = [pair for pair in pairs if not _LINE.fullmatch("\n".join([*pair, ""]))]
    return f"header {bad[0]!r}: a name has no spaces, and control characters are not allowed"
