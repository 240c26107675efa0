"""What becomes of X-Forwarded-*: believed from trusted proxies, dropped from everybody else."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from docker_flask.plan.validators import PRIVATE
from docker_flask.worker.middleware.proxies import TrustedProxies

TRUSTED = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")
PROXY, CLIENT, STRANGER = "10.0.0.2", "203.0.113.9", "198.51.100.7"


def seen(peer: str = PROXY, trusted: tuple[str, ...] = TRUSTED, **environ: str) -> dict[str, Any]:
    """The environment as the application gets it; keywords: request headers, or what WSGI has."""
    given = {
        name if name in ("SCRIPT_NAME", "PATH_INFO", "wsgi.url_scheme") else f"HTTP_{name}": value
        for name, value in environ.items()
    }
    basis = {"SERVER_NAME": "", "SERVER_PORT": "80", "SCRIPT_NAME": "", "PATH_INFO": "/"}
    got: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        got.update(environ)
        return [b"body"]

    whole = {**basis, "wsgi.url_scheme": "http", "HTTP_HOST": "inner:8080", "REMOTE_ADDR": peer}
    assert TrustedProxies(application, trusted)(whole | given, lambda *_: None) == [b"body"]
    return got


PRIVATE_PEERS = """10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 169.254.1.1 ::1
    fd00::1 fe80::1 ::ffff:10.1.2.3"""
PUBLIC_PEERS = "172.32.0.1 100.64.0.1 8.8.8.8 ::ffff:8.8.8.8 2001:db8::1"


def test_addresses_and_networks() -> None:
    for peer in ("10.255.255.255", "192.0.2.1", "2001:db8::1"):
        assert seen(peer, X_FORWARDED_FOR=CLIENT)["REMOTE_ADDR"] == CLIENT
    for peers, scheme in ((PRIVATE_PEERS, "https"), (PUBLIC_PEERS, "http")):
        for peer in peers.split():
            by_proxy = seen(peer, trusted=PRIVATE, X_FORWARDED_PROTO="https")
            assert by_proxy["wsgi.url_scheme"] == scheme, peer


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("", PROXY),
        (CLIENT, CLIENT),
        (f"{STRANGER}, {CLIENT}", CLIENT),  # what the client claims stands before it
        (f"{CLIENT}, 10.0.0.3, 192.0.2.1", CLIENT),  # a chain of proxies
        (f"{CLIENT}, 11.0.0.3", "11.0.0.3"),  # a chain with one that is not trusted
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),  # a client among the trusted
        ("2001:DB9:0::5, 2001:db8::1", "2001:db9::5"),
        (f"{CLIENT}:4711", CLIENT),
        ("[2001:db9::5]:4711", "2001:db9::5"),
        (f"::ffff:{CLIENT}, ::ffff:10.0.0.3", CLIENT),
        (f"{CLIENT}, 10.0.0.3:1234 , [2001:db8::7]:99", CLIENT),
        # What is no address ends it: nobody trusted vouches for those before.
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, unknown, 10.0.0.3", "10.0.0.3"),
        ("_hidden, 10.0.0.3", "10.0.0.3"),
        ("203.0.113.999", PROXY),
        ("fe80::1%<script>", PROXY),
        (f",, ,{CLIENT},,", CLIENT),
        (f"{STRANGER} {CLIENT}", CLIENT),  # as nginx reads it
    ],
)
def test_client(forwarded: str, client: str) -> None:
    got = seen(X_FORWARDED_FOR=forwarded)
    assert got["REMOTE_ADDR"] == client
    assert got["HTTP_X_FORWARDED_FOR"] == client


def test_scheme() -> None:
    """The nearest proxy's; any but these two counts as none."""
    said = {
        "https": ["https", "HTTPS", " https ", "http,https"],
        "http": ["http", "https, http", "https, javascript", "https:", ""],
    }
    for scheme, words in said.items():
        for word in words:
            got = seen(X_FORWARDED_PROTO=word)
            assert got["wsgi.url_scheme"] == got["HTTP_X_FORWARDED_PROTO"] == scheme, word
    odd: dict[str, Any] = {"X_FORWARDED_PROTO": "javascript", "wsgi.url_scheme": "javascript"}
    for peer in (PROXY, STRANGER):
        assert seen(peer, **odd)["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize(
    ("headers", "host", "port"),
    [
        ({}, "inner:8080", "8080"),
        ({"HOST": "shop.example"}, "shop.example", "80"),
        ({"X_FORWARDED_HOST": "shop.example:8443"}, "shop.example:8443", "8443"),
        ({"X_FORWARDED_HOST": "shop.example", "X_FORWARDED_PROTO": "https"}, "shop.example", "443"),
        ({"X_FORWARDED_HOST": "evil.example, shop.example"}, "shop.example", "80"),
        ({"X_FORWARDED_HOST": "[2001:db8::1]:81"}, "[2001:db8::1]:81", "81"),
        ({"X_FORWARDED_PORT": "8443"}, "inner:8443", "8443"),
        ({"X_FORWARDED_PORT": "443", "X_FORWARDED_PROTO": "https"}, "inner", "443"),
        # A proxy behind the one that speaks TLS tells its own port.
        ({"X_FORWARDED_PORT": "80", "X_FORWARDED_PROTO": "https"}, "inner", "443"),
        ({"HOST": "shop.example:80", "X_FORWARDED_PROTO": "https"}, "shop.example", "443"),
        ({"X_FORWARDED_HOST": "a:81", "X_FORWARDED_PORT": "82, 83"}, "a:83", "83"),
        *(
            ({"X_FORWARDED_PORT": port}, "inner:8080", "8080")
            for port in ("0", "65536", "-1", "x", "1 2", "80;", "\u0668", "9" * 400)
        ),
        *(
            ({"X_FORWARDED_HOST": host}, "inner:8080", "8080")
            for host in ("a/b", "a@b", "a b", "a:", "a:x", "<a>", "[::1", "a,", "\xe4", "a\nb", "?")
        ),
    ],
)
def test_host_and_port(headers: dict[str, Any], host: str, port: str) -> None:
    got = seen(**headers)
    assert (got["HTTP_HOST"], got["SERVER_PORT"]) == (host, port)
    assert got["SERVER_NAME"] == re.sub(r":\d+$", "", host)
    # A valid one stays, as it was understood; any other is dropped.
    assert got.get("HTTP_X_FORWARDED_HOST", host) == host
    assert got.get("HTTP_X_FORWARDED_PORT", port) == port


@pytest.mark.parametrize(
    ("prefix", "path", "script_name", "path_info"),
    [
        ("/shop", "/", "/shop", "/"),
        ("/shop/", "/cart", "/shop", "/cart"),
        ("/shop", "/shop/cart", "/shop", "/shop/cart"),  # nginx has judged this path
        ("/a/b-c/d_e.f~1", "/x", "/a/b-c/d_e.f~1", "/x"),
        ("/user/me@home/proxy/http:web:80", "/x", "/user/me@home/proxy/http:web:80", "/x"),
        ("/evil, /shop", "/x", "/shop", "/x"),
        *(
            (prefix, "/x", "", "/x")
            for prefix in (
                "",
                "/",
                "//",
                "shop",
                "//evil.example",
                "/a//b",
                "/a b",
                '/"',
                "/<b>",
                "/a?b",
                "/a#b",
                "/\xe4",
                "/%2e",
                "/a\\b",
                "/a\nb",
            )
        ),
    ],
)
def test_prefix(prefix: str, path: str, script_name: str, path_info: str) -> None:
    got = seen(X_FORWARDED_PREFIX=prefix, PATH_INFO=path)
    assert (got["SCRIPT_NAME"], got["PATH_INFO"]) == (script_name, path_info)
    assert got.get("HTTP_X_FORWARDED_PREFIX", "") == script_name
    decided = seen(X_FORWARDED_PREFIX=prefix, SCRIPT_NAME="/setting")
    assert (decided["SCRIPT_NAME"], "HTTP_X_FORWARDED_PREFIX" in decided) == ("/setting", False)


def test_the_number_of_proxies_is_limited() -> None:
    """A client sends thousands of entries, which must not cost time."""
    hops = [f"10.0.1.{number}" for number in range(1, 21)]
    assert seen(X_FORWARDED_FOR=", ".join([CLIENT, *hops[1:]]))["REMOTE_ADDR"] == CLIENT
    assert seen(X_FORWARDED_FOR=", ".join([CLIENT, *hops]))["REMOTE_ADDR"] == hops[0]
    begun = time.process_time()
    for separator in (",", ", ", " "):
        many = separator.join(["10.0.1.1"] * 7_000)
        assert seen(X_FORWARDED_FOR=many)["REMOTE_ADDR"] == "10.0.1.1"
    assert (time.process_time() - begun) / 3 < 0.005
