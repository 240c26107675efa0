"""The WSGI environment is the same in both modes and on every server, except for one table.

docs/settings.md has the table. A cell is a value, words for any value, or `absent`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.harness import (
    APPS,
    DEBUG,
    DEBUG_PORT,
    PRODUCTION_PORT,
    REQUEST_ID,
    Engine,
)
from tests.support.marks import at_night
from tests.support.pages import rows
from tests.support.servers import SERVERS

COLUMNS = ("uWSGI", "Gunicorn", "debug mode")
# Objects and methods of the servers themselves.
OWN = ("uwsgi.*", "x-wsgiorg.*", "gunicorn.*", "werkzeug.*")
# Targets that Werkzeug reads in its own way.
DOTS = ("an encoded slash", "dots", "encoded dots")
ODD = (*DOTS, "no letter", "letters not encoded", "an absolute address", "only a host")
# What no two requests have in common: the form of these values counts.
FORMS = {
    "REMOTE_PORT": r"[1-9]\d{0,4}",
    "HTTP_X_REQUEST_ID": rf"{REQUEST_ID}|[0-9a-f]{{32}}",  # of nginx, and of debug mode
}

HEADERS = (
    b"Host: me.example\r\nConnection: close, te\r\nCookie: a=1; b=2\r\nProxy: evil\r\n"
    b"X_Under: score\r\nX-Forwarded-For: 9.9.9.9\r\nX-Request-ID: mine\r\n"
)
PROXY = b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /a\r\n"
TARGETS = {
    "a path": "/a%20b?x=%26",
    "an encoded slash": "/x%2Fy/../z",
    "letters": "/%C3%A4/%C3%B6%3F",
    "letters not encoded": "/\xc3\xa4/o",
    "no letter": "/%E4",
    "encoded dots": "/a/%2e%2e/b//c",
    "signs": "/;x+b:@c|d\"<>'~%3F%23%252F",
    "a query of signs": "/a?b?c=//d/../e&x=%26&y=+",
    "an empty query": "/a?",
    "a fragment": "/a?x#y",
    "an absolute address": "http://me.example/a?x=1",
    "only a host": "http://me.example",
}
REFUSED = ["/../b", "/%00", "/%zz", "*", "http://other.example/", "//\\evil.example", "/%2Fa"]
REDIRECTED = {"//a//b?c=//d": "/a//b?c=//d", "///": "/", "http://me.example//a": "/a"}
REQUESTS = {
    **{
        name: b"GET %s HTTP/1.1\r\n%s\r\n" % (target.encode("latin-1"), HEADERS)
        for name, target in TARGETS.items()
    },
    "a body": b"POST /p HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
    + HEADERS
    + b"\r\nabc",
    "a chunked body": b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + HEADERS
    + b"\r\n3\r\nabc\r\n0\r\n\r\n",
    "a header sent twice": b"GET / HTTP/1.1\r\nX-Two: a\r\nX-Two: b\r\n" + HEADERS + b"\r\n",
    "a header that is not ASCII": b"GET / HTTP/1.1\r\nX-Text: \xc3\xa9\r\n" + HEADERS + b"\r\n",
    "no Host": b"GET / HTTP/1.0\r\n\r\n",
}

Seen = dict[str, dict[str, Any]]
Look = Callable[..., Seen]


@pytest.fixture(scope="module")
def look(module_engine: Engine) -> Look:
    """The environments of all requests, in debug mode or on a server; starts each only once."""
    found: dict[tuple[str, bool], Seen] = {}

    def environments(name: str, proxied: bool = False) -> Seen:
        if (name, proxied) not in found:
            command = DEBUG if name == "debug mode" else None
            server = SERVERS.get(name, SERVERS["uwsgi"])
            inside = DEBUG_PORT if command else PRODUCTION_PORT
            env = {"TRUSTED_PROXIES": "private"} if proxied else {}
            container = module_engine.run(command, server=server, app=APPS / "environ", env=env)
            container.wait_until_serving("/", inside)
            port = container.port(inside)
            by_proxy = HEADERS + PROXY if proxied else HEADERS
            found[name, proxied] = {
                case: asked(port, sent.replace(HEADERS, by_proxy))
                for case, sent in REQUESTS.items()
            }
            if not command:
                check_odd_targets(port)
        return found[name, proxied]

    return environments


def check_odd_targets(port: int) -> None:
    """What nginx refuses, and what it redirects."""
    for target, location in {**dict.fromkeys(REFUSED, ""), **REDIRECTED}.items():
        request = b"GET %s HTTP/1.1\r\n%s\r\n" % (target.encode(), HEADERS)
        (answer,) = raw_http.answers(raw_http.exchange(port, request, end=False))
        found = answer.status, "".join(answer.values("Location"))
        assert found == (308 if location else 400, location), target


def asked(port: int, request: bytes) -> dict[str, Any]:
    (answer,) = raw_http.answers(raw_http.exchange(port, request, end=False))
    assert answer.status == 200, request
    return dict(answer.json)


def rows_of_the_page() -> dict[tuple[str, str], dict[str, str]]:
    """The table: for a request ("" for all) and a key, the cell of each column."""
    found = {}
    for first, *cells in rows("settings.md", "<!-- environ -->", "<!-- /environ -->"):
        key, _, case = first.partition(", of ")
        assert len(set(cells)) > 1, "a row is a difference"
        found[case, key.strip("`")] = dict(zip(COLUMNS, cells, strict=True))
    return found


def agrees(cell: str, environ: dict[str, Any], key: str) -> bool:
    """True if the table tells the truth about a key."""
    if key not in environ:
        return cell.endswith("absent")
    value = re.fullmatch("`(.*)`", cell)
    return cell != "absent" and (not value or str(environ[key]) == value[1])


@pytest.mark.parametrize(
    ("name", "proxied"),
    [
        ("gunicorn-gthread", False),
        ("debug mode", False),
        *at_night(
            *((name, False) for name in SERVERS if name not in ("uwsgi", "gunicorn-gthread")),
            *((name, True) for name in (*SERVERS, "debug mode") if name != "uwsgi"),
        ),
    ],
)
def test_the_environment_differs_only_as_the_page_says(
    look: Look, name: str, proxied: bool
) -> None:
    wanted, seen, rows = look("uwsgi", proxied), look(name, proxied), rows_of_the_page()
    column = "debug mode" if name == "debug mode" else SERVERS[name].name
    wrong = []
    for case, environ in seen.items():
        if name == "debug mode" and case in ODD:
            continue
        for key in sorted(environ.keys() | wanted[case].keys()):
            if any(fnmatch(key, pattern) for pattern in OWN):
                continue
            if key in FORMS:
                right = bool(re.fullmatch(FORMS[key], str(environ.get(key))))
                right &= type(environ.get(key)) is str
            elif proxied and environ.get(key) == wanted[case].get(key):
                right = True  # the proxy decides what differs without one
            elif cells := rows.get((case, key)) or rows.get(("", key)):
                right = agrees(cells["uWSGI"], wanted[case], key)
                right &= agrees(cells[column], environ, key)
            else:
                right = environ.get(key, "absent") == wanted[case].get(key, "absent")
            if not right:
                wrong.append((case, key, wanted[case].get(key), environ.get(key)))
    assert not wrong, "\n".join(map(str, wrong))


def test_paths_of_the_default_server(look: Look) -> None:
    seen = {
        case: tuple(environ[key] for key in ("RAW_URI", "REQUEST_URI", "PATH_INFO"))
        for case, environ in look("uwsgi").items()
    }
    assert seen["an encoded slash"] == ("/x%2Fy/../z",) * 2 + ("/x/z",)
    assert seen["letters"] == ("/%C3%A4/%C3%B6%3F",) * 2 + ("/\xc3\xa4/\xc3\xb6?",)
    assert seen["letters not encoded"] == ("/\xc3\xa4/o",) * 3
    assert seen["a fragment"] == ("/a?x#y",) * 2 + ("/a",)
    assert seen["an absolute address"] == ("/a?x=1",) * 2 + ("/a",)
