"""The target of a request, read as nginx reads it in production.

nginx chooses a location, and with it the rules of access, by the decoded path without `.` and
`..`. The application gets this path as PATH_INFO, and what the client sent as REQUEST_URI and
RAW_URI.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_BAD = re.compile(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})|%00")


class Target(NamedTuple):
    """uri: path and query as the client sent them; path: decoded; host: of an absolute address;
    redirect: the same with one slash at the beginning, if there are several."""

    uri: str
    path: str
    query: str
    host: str
    redirect: str


def read(text: str) -> Target:
    """The parts of a target; raises ValueError if nginx would respond with 400.

    text: its bytes as Latin-1, as all texts in the WSGI environment.
    """
    absolute = _ABSOLUTE.match(text)
    uri = text[absolute.end() :] if absolute else text
    if absolute and not uri.startswith("/"):
        uri = "/" + uri
    sent_path, _, query = uri.partition("#")[0].partition("?")
    if not uri.startswith("/") or _BAD.search(sent_path):
        raise ValueError(text)
    path = _without_dots(unquote_to_bytes(sent_path.encode("latin-1")).decode("latin-1"))
    redirect = "/" + uri.lstrip("/") if path.startswith("//") else ""
    if redirect and (not uri.startswith("//") or redirect.startswith("/\\")):
        raise ValueError(text)
    return Target(uri, path, query, absolute[1] if absolute else "", redirect)


def same_host(named: str, header: str | None) -> bool:
    """False if an absolute address and the header Host name two hosts."""
    if not named or header is None:
        return True
    one, other = (re.sub(r"\.?(:[0-9]+)?$", "", host).lower() for host in (named, header))
    return one == other


def _without_dots(path: str) -> str:
    kept: list[str] = []
    words = path[1:].split("/")
    for word in words:
        if word == "..":
            if not kept:
                raise ValueError(path)
            kept.pop()
        elif word != ".":
            kept.append(word)
    if words[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
