"""Forged headers, made up by hypothesis: the application believes none of them.

Every response shows the application's environment. It must be that of a request without these
headers, apart from headers that have no meaning here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import raw_http
from tests.support.harness import APPS, PRODUCTION_PORT, Engine, mounted
from tests.support.marks import at_night
from tests.support.servers import NOT_APPLICABLE, SERVERS

pytestmark = pytest.mark.timeout(600)
# How many requests: for each change, and at night for each of 17 containers.
FEW, MANY = 100, 700
EXAMPLES = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.nightly)]
HOST, REAL = "shop.example", "198.51.100.7"
BELIEVED = ("For", "Proto", "Host", "Port", "Prefix")
NAMES = [
    *(f"X-Forwarded-{name}" for name in (*BELIEVED, "SSL", "Server", "Scheme")),
    "Forwarded",
    "X-Real-IP",
    "Proxy",
    "X-Request-ID",
    "Front-End-Https",
    "REMOTE-ADDR",
    "REMOTE-USER",
    "SERVER-NAME",
    "SERVER-PORT",
    "SCRIPT-NAME",
    "PATH-INFO",
    "QUERY-STRING",
    "REQUEST-URI",
    "REQUEST-METHOD",
    "REQUEST-SCHEME",
    "HTTPS",
    "wsgi.url_scheme",
    "UWSGI-SCRIPT",
    "UWSGI-FILE",
    "UWSGI-MODULE",
    "UWSGI-CHDIR",
    "UWSGI-SCHEME",
    "UWSGI-SETENV",
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Sendfile",
    "Status",
    "X-Cache-Status",
    "X-Mine",
]
VALUES = [
    "6.6.6.6",
    "::1",
    "127.0.0.1",
    "6.6.6.6, 127.0.0.1",
    "unknown",
    "https",
    "HTTPS",
    "http, https",
    "on",
    "1",
    "evil.example",
    "evil.example:443",
    "443",
    "/evil",
    "//evil.example",
    "forged",
    "for=6.6.6.6;proto=https;host=evil.example",
    "HIT/200",
    "EXPIRED/200\thttps",
    "/etc/passwd",
    "",
    " ",
    "\t",
    "a" * 500,
    "\xff",
    "6.6.6.6 80 https evil.example 443 /evil",
]


class Setup(NamedTuple):
    """A way to run the container; trusted: TRUSTED_PROXIES."""

    server: str
    trusted: str = ""
    snippets: bool = False


SETUPS = [
    Setup("uwsgi", "203.0.113.0/24", snippets=True),
    Setup("uwsgi", "private"),
    *at_night(
        *((Setup(name, "", snippets=True),) for name in SERVERS),
        *((Setup(name, "private"),) for name in SERVERS if name != "uwsgi"),
        (Setup("gunicorn-sync", "203.0.113.0/24"),),
    ),
]


class Echo:
    """A container that shows what its application gets."""

    def __init__(self, setup: Setup, port: int) -> None:
        self.setup, self.port = setup, port
        self.trusts = setup.trusted == "private"
        _, self.usual = self.ask([])

    def ask(
        self, headers: list[tuple[str, str]], path: str = "/echo"
    ) -> tuple[raw_http.Answer, dict[str, Any]]:
        """The answer to a request, and what the application had."""
        proxy = [(f"X-Forwarded-{name}", value) for name, value in self.by_proxy.items()]
        lines = [("Host", HOST), ("Connection", "close"), *headers, *proxy]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        request = f"GET {path}?query HTTP/1.1\r\n{head}\r\n".encode("latin-1")
        (answer,) = raw_http.answers(raw_http.exchange(self.port, request, end=False))
        return answer, answer.json if answer.status == 200 else {}

    @property
    def by_proxy(self) -> dict[str, str]:
        """What a trusted proxy adds behind the headers of its client."""
        if not self.trusts:
            return {}
        return {"For": REAL, "Proto": "https", "Host": HOST, "Port": "443", "Prefix": "/shop"}


@pytest.fixture(scope="module", params=SETUPS, ids=lambda setup: "-".join(map(str, setup)))
def echo(
    module_engine: Engine, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Echo]:
    setup: Setup = request.param
    server = SERVERS[setup.server]
    volumes = snippets(tmp_path_factory.mktemp("snippets")) if setup.snippets else {}
    container = module_engine.run(
        server=server,
        app=APPS / "attacked",
        env={"APP_MODULE": "app:app", "TRUSTED_PROXIES": setup.trusted},
        volumes=volumes,
    )
    container.wait_until_serving("/answers")
    yield Echo(setup, container.port(PRODUCTION_PORT))
    container.docker.remove(force=True, v=True)


def snippets(folder: Path) -> dict[str, dict[str, str]]:
    """Snippets of every level, with locations that pass to the application in their own ways.

    As in any nginx, `uwsgi_param` at one level hides those of the levels above.
    """
    image = "include uwsgi_params;"
    own, pass_to = "uwsgi_param HTTP_X_MINE yes;", "uwsgi_pass application;"
    texts = {
        "/etc/nginx/mine.inc": own,
        "/etc/nginx/conf.d/mine.conf": own,
        "/etc/nginx/location.d/mine.conf": "include /etc/nginx/mine.inc;",
        "/etc/nginx/server.d/mine.conf": (
            "underscores_in_headers on;\n"
            f"location /echo/own {{ {own} {image} {pass_to} }}\n"
            f"location /echo/included {{ {image} include mine.inc; {pass_to} }}\n"
            f"location /echo/inherited {{ {pass_to} }}\n"
            f"location /echo/without {{ {own} {pass_to} }}\n"
        ),
    }
    return mounted(folder, texts)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A name, or one that a server may take for it."""
    name = draw(st.sampled_from(NAMES))
    name = draw(st.sampled_from(["", "", "", "HTTP-", "HTTP_", "X-", "-"])) + name
    name = draw(st.sampled_from([name, name, name.lower(), name.upper(), name.swapcase()]))
    places = draw(st.sets(st.integers(0, len(name) - 1), max_size=4))
    text = "".join("_" if c == "-" and i in places else c for i, c in enumerate(name))
    return text + draw(st.sampled_from(["", "", "", "", "", "_", "-", " ", "\t", "."]))


@st.composite
def forgeries(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Lines of a request's head."""
    pairs = st.tuples(spellings(), st.sampled_from(VALUES))
    named = st.builds(lambda name: ("Connection", f"close, {name}"), st.sampled_from(NAMES))
    return draw(st.lists(st.one_of(pairs, pairs, pairs, named), min_size=1, max_size=8))


def differences(echo: Echo, answer: raw_http.Answer, found: dict[str, Any]) -> dict[str, Any]:
    """What differs from a request without forged headers."""
    usual = echo.usual["environ"]
    own = {"HTTP_CONNECTION", "REMOTE_PORT", "HTTP_X_REQUEST_ID"}
    wrong = {
        name: found[name] for name in found if name != "environ" and found[name] != echo.usual[name]
    }
    for name, value in found["environ"].items():
        if name not in usual:
            # A header of the client's that means nothing to Flask or Werkzeug.
            meant = {f"HTTP_X_FORWARDED_{name.upper()}" for name in (*BELIEVED, "SSL")}
            meant |= {"HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_PROXY"}
            if not name.startswith("HTTP_") or name in meant:
                wrong[name] = value
        elif name not in own and value != usual[name]:
            wrong[name] = value
    identity = answer.values("X-Request-ID")
    if identity != [found["environ"]["HTTP_X_REQUEST_ID"]]:
        wrong["X-Request-ID"] = identity
    return wrong


RESPONSE = {
    "server",
    "date",
    "content-type",
    "content-length",
    "connection",
    "x-request-id",
    "vary",
}


@pytest.mark.parametrize("examples", EXAMPLES)
def test_nothing_that_is_forged_is_believed(echo: Echo, examples: int) -> None:
    from_proxy = {f"x-forwarded-{name.lower()}" for name in BELIEVED if name != "For"}
    # As docs/behind-a-proxy.md asks, a trusted proxy replaces these headers of its client.
    replaced = from_proxy if echo.trusts else set()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(forgeries())
    def check(lines: list[tuple[str, str]]) -> None:
        sent = [pair for pair in lines if pair[0].strip().lower() not in replaced]
        answer, found = echo.ask(sent)
        assert {name.lower() for name, _ in answer.headers} <= RESPONSE, answer
        if answer.status != 200:  # nothing is believed that is refused
            assert answer.status == 400, answer
            return
        assert not differences(echo, answer, found), json.dumps(sent)

    check()


@pytest.mark.parametrize("where", ["own", "included", "inherited"])
def test_a_snippet_takes_no_protection_away(echo: Echo, where: str) -> None:
    if not echo.setup.snippets:
        pytest.skip(f"{NOT_APPLICABLE}a container without snippets")
    answer, found = echo.ask([(name, "forged") for name in NAMES], f"/echo/{where}")
    assert answer.status == 200, answer
    assert found["environ"]["HTTP_X_MINE"] == "yes"
    wrong = differences(echo, answer, found)
    assert wrong.keys() <= {"PATH_INFO", "REQUEST_URI", "RAW_URI"}


def test_a_location_without_the_images_parameters_fails(echo: Echo) -> None:
    """It must not serve with what a client has forged."""
    if not echo.setup.snippets:
        pytest.skip(f"{NOT_APPLICABLE}a container without snippets")
    assert echo.ask([(name, "forged") for name in NAMES], "/echo/without")[0].status >= 500
