"""RESPONSE_CACHE: kept is what the application lets others share, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.support.harness import APPS, NO_TLS, Container, Engine, mounted, wait_for
from tests.support.marks import at_night

PUBLIC = "Cache-Control:public, max-age=600"
STATUS = "X-Cache-Status"


class Service:
    """A container with the application of this module."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.port = container.port()

    def get(self, path: str, **headers: str) -> httpx.Response:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.container.get(path, headers=lines)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, self.container.url(path), verify=NO_TLS, **options)

    def call(self, path: str, **headers: str) -> str:
        """Which call of the application this answer comes from."""
        return str(self.get(path, **headers).json()["call"])

    def calls(self, path: str) -> int:
        """How often the application was called for a path."""
        _, log = self.container.execute("cat", "/tmp/calls")
        return log.splitlines().count(path)

    def run(self, command: str) -> None:
        self.container.shell(command)


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start(module_engine: Engine) -> Start:
    """Start a container with settings."""

    def run(env: dict[str, str] | None = None, **options: Any) -> Service:
        env = {"WEB_CONCURRENCY": "2", "RESPONSE_CACHE": "64m", **(env or {})}
        return Service(module_engine.serve(app=APPS / "cache", env=env, **options))

    return run


@pytest.fixture(scope="module")
def service(start: Start) -> Service:
    return start()


pages = iter(range(10**6))


def page(*lines: str, **more: str) -> str:
    """The address of a page that nobody has asked for, with these header lines."""
    return f"/page/{next(pages)}?{urlencode([('h', line) for line in lines] + [*more.items()])}"


# --- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (PUBLIC, 200),
        (PUBLIC, 404),
        ("Cache-Control:max-age=600", 200),
        ("cache-control:max-age=0, s-maxage=600", 200),
        ("Expires:Thu, 31 Dec 2099 23:59:59 GMT", 200),
    ],
)
def test_a_page_that_everybody_may_share_is_kept(service: Service, line: str, status: int) -> None:
    """Compressed for those who accept that."""
    path = page(line, status=str(status), size="5000")
    first = service.get(path, Accept_Encoding="identity")
    second = service.get(path, Accept_Encoding="gzip")
    assert [answer.status_code for answer in (first, second)] == [status] * 2
    assert [answer.headers[STATUS] for answer in (first, second)] == ["MISS", "HIT"]
    assert "Content-Encoding" not in first.headers
    assert second.headers["Content-Encoding"] == "gzip"
    assert first.content == second.content
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_head_is_answered_from_the_cache_but_fills_none(service: Service) -> None:
    path = page(PUBLIC, empty_head="1")
    assert service.request("HEAD", path).headers[STATUS] == "MISS"
    whole = service.get(path)
    assert (whole.json()["method"], whole.headers[STATUS]) == ("GET", "MISS")
    head = service.request("HEAD", path)
    assert head.headers[STATUS] == "HIT"
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_conditions_and_ranges(service: Service) -> None:
    """The application answers these itself, and they are not taken for the page."""
    path = page(PUBLIC, etag="tag", size="1000")
    assert service.get(path, If_None_Match='"tag"').status_code == 304
    assert service.get(path, Range="bytes=0-9").status_code == 206
    assert service.calls(path) == 2
    whole = service.get(path, Accept_Encoding="identity")
    assert (whole.status_code, whole.headers[STATUS]) == (200, "MISS")
    assert service.get(path, If_None_Match='"tag"').status_code == 304
    part = service.get(path, Range="bytes=0-9", Accept_Encoding="identity")
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert service.calls(path) == 3
    with httpx.Client(base_url=service.container.url()) as client:
        for _ in range(3):  # on a kept connection
            assert client.get(path, headers={"If-Match": '"other"'}).status_code == 412
    assert service.calls(path) == 6


def test_an_expired_page_is_made_whole(service: Service) -> None:
    """Also if everybody who asks for it has an older page, or needs only a part."""
    path = page("Cache-Control:public, max-age=2", etag="tag", size="1000")
    service.get(path)
    for headers in ({"If_None_Match": '"tag"'}, {"Range": "bytes=0-9"}):
        calls = service.calls(path)

        def has_expired(headers: dict[str, str] = headers) -> bool:
            return service.get(path, **headers).headers[STATUS] == "EXPIRED"

        wait_for(has_expired, 10, "the page to be too old")
        assert service.get(path).headers[STATUS] == "HIT"
        assert service.calls(path) == calls + 1


# --- what never is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["X-Accel-Expires:600"],
        ["X-Accel-Expires:600", "Cache-Control:private"],
        ["Cache-Control:no-cache"],
        ["Cache-Control:public, max-age=0"],
        [PUBLIC, "Set-Cookie:user=ann"],
        [PUBLIC, "Cache-Control:private"],
        [PUBLIC, "Vary:*"],
        [PUBLIC, "Vary:Accept, x-Forwarded-for"],
    ],
)
def test_a_page_for_one_user_is_shown_to_no_other(service: Service, lines: list[str]) -> None:
    path = page(*lines)
    answers = [service.get(path) for _ in range(3)]
    assert len({answer.json()["call"] for answer in answers}) == 3
    assert {answer.headers[STATUS] for answer in answers} == {"MISS"}


@pytest.mark.parametrize("status", ["206", "403", "500"])
def test_other_responses_are_not_kept(service: Service, status: str) -> None:
    path = page(PUBLIC, status=status)
    assert service.call(path) != service.call(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic YW5uOnB3"},
        {"Cookie": "user=ann"},
        {"Content_Length": "0", "Authorization": "0"},
        {"X_HTTP_Method_Override": "DELETE"},
    ],
)
def test_who_says_who_he_is_goes_past_it(service: Service, headers: dict[str, str]) -> None:
    path = page(PUBLIC)
    mine = service.call(path, **headers)
    everybodys = service.call(path)
    assert mine != everybodys
    assert service.call(path, **headers) not in (mine, everybodys)
    assert service.call(path) == everybodys


def test_a_body_may_mean_something(service: Service) -> None:
    path = page(PUBLIC)
    for content in (b"a", iter([b"a"])):
        answer = service.request("GET", path, content=content)
        assert STATUS not in answer.headers
    assert service.request("POST", path).json()["method"] == "POST"
    assert service.get(path).headers[STATUS] == "MISS"
    assert service.request("POST", path).json()["method"] == "POST"


@pytest.mark.parametrize(
    ("vary", "mine", "others"),
    [
        ("X-User", {"X_User": "ann"}, [{"X_User": "bob"}, {"X_User": "an"}, {}]),
        ("X-User", {"X_User": "a b"}, [{"X_User": "a,b"}]),
        ("Accept-Language", {"Accept_Language": "de"}, [{"Accept_Language": "fr"}]),
    ],
)
def test_vary(
    service: Service, vary: str, mine: dict[str, str], others: list[dict[str, str]]
) -> None:
    path = page(PUBLIC, f"Vary:{vary}")
    first = service.call(path, **mine)
    for other in others:
        assert service.call(path, **other) != first
    assert service.call(path, **mine) == first


@pytest.mark.parametrize("path", ["/stream", "/cut"])
def test_what_may_be_cut_short_is_not_kept(service: Service, path: str) -> None:
    """A stream that ends too early looks like one that has ended."""
    calls = 0
    for _ in range(2):
        with suppress(httpx.RemoteProtocolError):
            assert service.get(path).headers[STATUS] == "MISS"
        assert service.calls(f"{path}?") > calls
        calls = service.calls(f"{path}?")


def test_a_session_is_its_users(service: Service) -> None:
    with (
        httpx.Client(base_url=service.container.url()) as ann,
        httpx.Client(base_url=service.container.url()) as bob,
        httpx.Client(base_url=service.container.url()) as nobody,
    ):
        for client, user in ((ann, "ann"), (bob, "bob")):
            assert "Set-Cookie" in client.get(f"/enter/{user}").headers
        for _ in range(2):
            assert ann.get("/session").text.split()[0] == "ann"
            assert bob.get("/session").text.split()[0] == "bob"
            assert len(nobody.get("/session").text.split()) == 1


POISONS = [
    "Accept-Encoding",
    "Cache-Control",
    "Connection",
    "Content-Type",
    "Cookie",
    "Expect-CT",
    "Front-End-Https",
    "Forwarded",
    "From",
    "HTTPS",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Max-Forwards",
    "Origin",
    "Path-Info",
    "Pragma",
    "Proxy",
    "Query-String",
    "Range",
    "Referer",
    "Remote-Addr",
    "Request-Method",
    "Script-Name",
    "Server-Name",
    "Status",
    "TE",
    "True-Client-IP",
    "User-Agent",
    "Via",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Cache-Status",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-SSL",
    "X-Forwarded-Server",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-URL",
    "X-Real-IP",
    "X-Request-ID",
    "X-Rewrite-URL",
]
VALUES = [
    "",
    "*",
    "/evil",
    "//evil.example",
    "0",
    "1",
    "666",
    "6.6.6.6, 127.0.0.1",
    "DELETE",
    "HEAD",
    "https",
    "http, https",
    "evil.example",
    "evil.example:443, shop.example",
    "bytes=0-1",
    "for=6.6.6.6;proto=https;host=evil.example",
    "Thu, 31 Dec 2099 23:59:59 GMT",
    '"tag"',
]


@pytest.mark.parametrize("values", [VALUES[::6], *at_night(VALUES)], ids=["few", "all"])
def test_nobody_poisons_a_page(service: Service, values: list[str]) -> None:
    """With a header, in any form: the next client gets the page that it would get without."""
    shop = ("Host", "shop.example")
    poisons = [[("Host", host)] for host in ("evil.example", "shop.example:81", "SHOP.example")]
    poisons += [[shop, (name, value)] for name in POISONS for value in values]
    url = service.container.url()
    closing = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(base_url=url, limits=closing) as attacker,
        httpx.Client(base_url=url) as client,
    ):
        for poison in poisons:
            path = page(PUBLIC, etag="tag")
            attacker.get(path, headers=poison)
            found = client.get(path, headers=[shop])
            assert found.status_code == 200, poison
            words = found.json()
            assert (words["method"], words["url"]) == ("GET", "http://shop.example/page"), poison


# --- behind proxies ------------------------------------------------------------------------------

SHOP = {"X_Forwarded_Host": "shop.example", "X_Forwarded_Proto": "https"}


def shop_lines() -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in SHOP.items()]


@pytest.fixture(scope="module")
def proxied(start: Start) -> Service:
    """It trusts the engine's gateway, from where this test comes, but not the container itself."""
    return start({"TRUSTED_PROXIES": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"})


@pytest.mark.parametrize(
    "others",
    [
        {"X_Forwarded_Host": "evil.example"},
        {"X_Forwarded_Proto": "http"},
        {"X_Forwarded_Prefix": "/evil"},
        {"X_Forwarded_Port": "666"},
        {"X_Forwarded_Host": "evil.example, shop.example"},
    ],
)
def test_what_proxies_say_is_in_the_key(proxied: Service, others: dict[str, str]) -> None:
    path = page(PUBLIC)
    proxied.get(path, **{**SHOP, **others})
    assert proxied.get(path, **SHOP).json()["url"] == "https://shop.example/page"
    assert proxied.get(path, **SHOP).headers[STATUS] == "HIT"


def test_a_header_that_comes_twice_poisons_no_page(proxied: Service) -> None:
    path = page(PUBLIC)
    twice = [*shop_lines(), ("X-Forwarded-Host", "evil.example")]
    httpx.get(proxied.container.url(path), headers=twice)
    assert proxied.get(path, **SHOP).json()["url"] == "https://shop.example/page"


def test_who_is_no_proxy_fills_no_page_of_theirs(proxied: Service) -> None:
    path = page(PUBLIC)
    host = f"127.0.0.1:{proxied.port}"
    lines = {"Host": host, **dict(shop_lines())}
    code = "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], headers=HEADERS))"
    url, headers = f"http://127.0.0.1{path}", repr(lines)
    assert proxied.container.execute("python3", "-c", code.replace("HEADERS", headers), url)[0] == 0
    assert proxied.calls(path) == 1
    assert proxied.get(path, **SHOP).json()["url"] == "https://shop.example/page"


# --- too old, or broken --------------------------------------------------------------------------


def test_nothing_is_served_for_longer_than_it_may(service: Service) -> None:
    path = page("Cache-Control:public, max-age=1")
    first = service.call(path)
    service.run("touch /tmp/broken")
    try:
        wait_for(lambda: service.get(path).status_code == 500, 10, "the page to be too old")
    finally:
        service.run("rm /tmp/broken")
    assert service.call(path) != first


def test_an_old_page_is_better_than_no_answer(start: Start) -> None:
    service = start({"REQUEST_TIMEOUT": "1"})
    path = page("Cache-Control:public, max-age=1, stale-if-error=600")
    first = service.call(path)
    service.run("echo 30 > /tmp/broken")

    def stale() -> bool:
        answer = service.get(path)
        assert (answer.status_code, answer.json()["call"]) == (200, first)
        return answer.headers[STATUS] == "STALE"

    wait_for(stale, 15, "the page to be too old")


def test_an_old_page_is_served_while_another_is_made(service: Service) -> None:
    path = page("Cache-Control:public, max-age=3, stale-while-revalidate=600", sleep="1")
    first = service.call(path)
    wait_for(lambda: service.get(path).headers[STATUS] == "STALE", 10, "the page to be too old")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: service.container.get(path), range(12)))
    assert {answer.json()["call"] for answer in answers} == {first}
    wait_for(lambda: service.call(path) != first, 15, "another page")
    assert service.calls(path) == 2


def test_a_page_survives_a_crash_and_no_reload(start: Start) -> None:
    service = start({"WEB_CONCURRENCY": "3"})
    kept, old = page(PUBLIC), page("Cache-Control:public, max-age=1, stale-while-revalidate=600")
    first, second = service.call(kept), service.call(old)
    service.run("kill -9 $(grep -liE '[u]wsgi|[g]unicorn' /proc/*/cmdline | cut -d/ -f3)")
    assert service.call(kept) == first
    assert service.call(old) == second
    service.container.wait_for_log("; restarting ")
    service.container.wait_until_serving()
    wait_for(lambda: service.call(old) != second, 15, "another page")
    assert service.call(kept) == first
    service.run("docker-flask reload")
    assert service.call(kept) != first
    assert service.get(kept).headers[STATUS] == "HIT"


def test_no_page_is_older_than_the_code_that_serves(service: Service) -> None:
    """After the first response of a new generation, no client gets one of an older generation."""
    service.run("echo 0 > /tmp/version")
    service.container.reload()
    path = page("Cache-Control:public, max-age=600, stale-while-revalidate=600")
    seen: list[tuple[float, float, int, str]] = []
    has_ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=service.container.url()) as client:
            while not has_ended.is_set():
                # One page that is kept, and some that are made while the generations change.
                for asked in (path, page("Cache-Control:public, max-age=1"), path):
                    begun = time.monotonic()
                    answer = client.get(asked)
                    version, status = int(answer.json()["version"]), answer.headers[STATUS]
                    seen.append((begun, time.monotonic(), version, status))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for version in (1, 2, 3):
                service.run(f"echo {version} > /tmp/version")
                service.container.reload()
                assert service.get(path).json()["version"] == str(version)
        finally:
            has_ended.set()
        for each in asking:
            each.result()
    hits = [version for *_, version, status in seen if status == "HIT"]
    assert {*hits} == {0, 1, 2, 3}
    for newest in (1, 2, 3):
        first = min(ended for _, ended, version, _ in seen if version == newest)
        assert all(version >= newest for begun, _, version, _ in seen if begun > first)


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_it_has_a_size(start: Start) -> None:
    service = start({"RESPONSE_CACHE": "1m"})
    for _ in range(60):
        assert service.get(page(PUBLIC, size="60000")).headers[STATUS] == "MISS"

    def kilobytes() -> int:
        return int(service.container.shell("du -sk /run/docker-flask/cache").split()[0])

    wait_for(lambda: kilobytes() <= 1100, 40, "the cache to shrink", every=0.5)
    assert kilobytes() > 300
    # One page does not take its whole room.
    path = page(PUBLIC, size="200000")
    assert [service.get(path).headers[STATUS] for _ in range(2)] == ["MISS", "MISS"]


def test_a_full_disk_costs_only_pages_that_do_not_fit(start: Start) -> None:
    service = start(tmpfs={"/run/docker-flask": "size=16m,uid=33,gid=33"})
    service.run("cat /dev/zero > /run/docker-flask/full 2>/dev/null || true")
    with pytest.raises(httpx.RemoteProtocolError):
        service.get(page(PUBLIC, size="90000"))
    for path in (page(size="90000"), page(PUBLIC, size="200000")):
        assert len(service.get(path).json()["filler"]) >= 90000
    service.run("rm /run/docker-flask/full")
    path = page(PUBLIC, size="90000")
    assert service.call(path) == service.call(path)


OWN_LOCATION = "location /page/ { include uwsgi_params; uwsgi_pass application; }\n"
OWN_CACHE = (
    "uwsgi_cache_path /tmp/own keys_zone=own:1m; uwsgi_cache_key $request_uri;"
    "uwsgi_cache own; uwsgi_cache_valid 200 10m;"
)


@pytest.mark.parametrize(
    ("folder", "snippet", "cached"),
    [("server.d", OWN_LOCATION, False), ("conf.d", OWN_CACHE, True)],
    ids=["location", "cache"],
)
def test_what_the_user_says_takes_its_place(
    start: Start, tmp_path: Path, folder: str, snippet: str, cached: bool
) -> None:
    service = start(volumes=mounted(tmp_path, {f"/etc/nginx/{folder}/own.conf": snippet}))
    path = page() if cached else page(PUBLIC)
    assert (service.call(path) == service.call(path)) == cached
    assert cached or STATUS not in service.get(path).headers
