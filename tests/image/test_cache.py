"""The response cache: kept is what the application lets everybody share, and nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.support.harness import APPS, Container, Engine, assert_within, wait_for

PUBLIC = "Cache-Control:public, max-age=600"
# Expires before a test is over, but not before its next request, were that to take a second.
BRIEF = "Cache-Control:public, max-age=2"
STATUS = "X-Cache-Status"


class Service:
    """A container with the application of this module."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.port = container.port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def get(self, path: str, **headers: str) -> httpx.Response:
        self.client.cookies.clear()  # no answer of another test decides what this request sends
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers=lines)

    def call(self, path: str, **headers: str) -> str:
        """Which call of the application this answer comes from."""
        return str(self.get(path, **headers).json()["call"])

    def calls(self, path: str) -> int:
        """How often the application was called for a path."""
        _, log = self.container.execute("cat", "/tmp/calls")
        return log.splitlines().count(path)

    def run(self, command: str) -> None:
        code, output = self.container.execute("bash", "-c", command)
        assert code == 0, output


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start(module_engine: Engine) -> Iterator[Start]:
    """Start a container with settings, or return the one that was started so."""
    started: dict[str, Service] = {}

    def run(env: dict[str, str] | None = None, **options: Any) -> Service:
        key = f"{sorted((env or {}).items())} {options}"
        if key not in started:
            volumes = {str(APPS / "cache"): {"bind": "/app", "mode": "ro"}}
            env = {"WEB_CONCURRENCY": "2", **(env or {})}
            container = module_engine.serve(env=env, **{"volumes": volumes, **options})
            # From the first page on that is to be shared, nginx looks for them.
            container.get(page("Cache-Control:public, max-age=60"))
            started[key] = Service(container)
        return started[key]

    yield run
    for service in started.values():
        service.client.close()


@pytest.fixture(scope="module")
def service(start: Start) -> Service:
    return start()


pages = iter(range(10**6))


def page(*lines: str, **more: str) -> str:
    """The address of a page that nobody has asked for, with these header lines."""
    return f"/page/{next(pages)}?{urlencode([('h', line) for line in lines] + [*more.items()])}"


def test_nginx_looks_for_pages_once_there_are_any(engine: Engine) -> None:
    container = engine.serve(app=APPS / "cache", env={"WEB_CONCURRENCY": "1"})
    path = page("Cache-Control:public, max-age=60")
    seen = [container.get(path).headers.get("X-Cache-Status") for _ in range(3)]
    assert seen == [None, "MISS", "HIT"]


# --- what is kept --------------------------------------------------------------------------------


def test_the_date_of_a_kept_page_is_when_it_was_made(service: Service) -> None:
    path = page(PUBLIC)
    made = service.get(path).headers["Date"]
    wait_for(lambda: service.get("/").headers["Date"] != made, 3, "the next second")
    kept = service.get(path)
    assert (kept.headers[STATUS], kept.headers["Date"]) == ("HIT", made)


@pytest.mark.parametrize(
    "line",
    [
        PUBLIC,
        "Cache-Control:s-maxage=600",
        "cache-control:max-age=0, s-maxage=600",
    ],
)
def test_a_page_that_everybody_may_share_is_kept(service: Service, line: str) -> None:
    path = page(line)
    first, second = service.get(path), service.get(path)
    assert (first.headers[STATUS], second.headers[STATUS]) == ("MISS", "HIT")
    assert first.content == second.content
    assert "X-Accel-Expires" not in first.headers
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


@pytest.mark.parametrize("status", ["404", "301", "410"])
def test_other_answers_are_kept(service: Service, status: str) -> None:
    path = page(PUBLIC, status=status)
    assert [service.get(path).headers[STATUS] for _ in range(2)] == ["MISS", "HIT"]


def test_head_is_answered_from_the_cache_but_fills_none(service: Service) -> None:
    path = page(PUBLIC)
    assert STATUS not in service.client.head(path).headers
    whole = service.get(path)
    assert whole.json()["method"] == "GET"
    head = service.client.head(path)
    assert head.headers[STATUS] == "HIT"
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_conditions_and_ranges(service: Service) -> None:
    path = page(PUBLIC, etag="tag", size="1000")
    # The application answers these itself, and they are not taken for the page.
    assert service.get(path, If_None_Match='"tag"').status_code == 304
    assert service.get(path, Range="bytes=0-9").status_code == 206
    assert service.calls(path) == 2
    whole = service.get(path, Accept_Encoding="identity")
    assert (whole.status_code, whole.headers[STATUS]) == (200, "MISS")
    assert service.get(path, If_None_Match='"tag"').status_code == 304
    assert service.get(path, If_None_Match='"other"').status_code == 200
    part = service.get(path, Range="bytes=0-9", Accept_Encoding="identity")
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert service.calls(path) == 3


def test_an_old_page_is_renewed_also_by_a_condition(service: Service) -> None:
    path = page(BRIEF, etag="tag")
    service.get(path)

    def renewed() -> bool:
        answer = service.get(path, If_None_Match='"tag"')
        assert answer.status_code == 304
        return answer.headers[STATUS] == "EXPIRED"

    wait_for(renewed, 10, "the page to be too old")
    wait_for(lambda: service.get(path).headers[STATUS] == "HIT", 10, "the page to be kept")


def test_compressed_for_those_who_accept_it(service: Service) -> None:
    path = page(PUBLIC, size="5000")
    plain = service.get(path, Accept_Encoding="identity")
    packed = service.get(path, Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers[STATUS] == "HIT"
    assert plain.content == packed.content


# --- what never is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Cache-Control:max-age=600"],
        ["Cache-Control:private, max-age=600"],
        ["X-Accel-Expires:600", "Cache-Control:private"],
        [PUBLIC, "Set-Cookie:user=ann"],
        [PUBLIC, "Cache-Control:private"],
        [PUBLIC, "Cache-Control:No-Store"],
        [PUBLIC, "Cache-Control:no-cache"],
        [PUBLIC, "Vary:*"],
    ],
)
def test_a_page_for_one_user_is_shown_to_no_other(service: Service, lines: list[str]) -> None:
    path = page(*lines)
    answers = [service.get(path) for _ in range(3)]
    assert len({answer.json()["call"] for answer in answers}) == 3
    assert not any(STATUS in answer.headers for answer in answers)


@pytest.mark.parametrize("status", ["500", "503", "206", "302&h=Set-Cookie:a=b"])
def test_other_answers_are_not_kept(service: Service, status: str) -> None:
    path = f"{page(PUBLIC)}&status={status}"
    service.get(path)
    assert STATUS not in service.get(path).headers


ME, OTHER = {"X_User": "ann", "Cookie": "user=ann"}, {"X_User": "bob", "Cookie": "user=bob"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic YW5uOnB3"},
        {"Authorization": "0"},
        {"Content_Length": "0", "Authorization": "Bearer x"},
        {"X_HTTP_Method_Override": "DELETE"},
        {"X_Method_Override": "DELETE"},
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
        answer = service.client.request("GET", path, content=content)
        assert STATUS not in answer.headers
    assert service.client.post(path).json()["method"] == "POST"
    assert service.get(path).headers[STATUS] == "MISS"
    assert service.client.post(path).json()["method"] == "POST"


@pytest.mark.parametrize(
    ("vary", "mine", "others"),
    [
        ("Cookie", {"Cookie": "user=ann"}, [{"Cookie": "user=bob"}, {}]),
        ("X-User", {"X_User": "ann"}, [{"X_User": "bob"}, {"X_User": "an"}, {}]),
        ("X-User", {"X_User": "a b"}, [{"X_User": "a,b"}]),
        ("Accept, cookie", {"Cookie": "user=ann"}, [{"Cookie": "user=bob"}]),
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


def test_a_session_is_its_users(service: Service) -> None:
    with (
        httpx.Client(base_url=service.client.base_url) as ann,
        httpx.Client(base_url=service.client.base_url) as bob,
        httpx.Client(base_url=service.client.base_url) as nobody,
    ):
        for client, user in ((ann, "ann"), (bob, "bob")):
            assert "Set-Cookie" in client.get(f"/enter/{user}").headers
        for _ in range(2):
            assert ann.get("/session").text.split()[0] == "ann"
            assert bob.get("/session").text.split()[0] == "bob"
            assert len(nobody.get("/session").text.split()) == 1
        # Nor is a cookie handed out twice.
        assert "Set-Cookie" in httpx.get(f"{service.client.base_url}/enter/bob").headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"X_Forwarded_Host": "evil.example"},
        {"X_Forwarded_Proto": "https"},
        {"X_Forwarded_Prefix": "/evil"},
        {"X_Forwarded_Port": "666"},
        {"Forwarded": "host=evil.example"},
        {"X_Original_URL": "/evil", "X_Rewrite_URL": "/evil"},
    ],
)
def test_nobody_poisons_a_page(service: Service, headers: dict[str, str]) -> None:
    path = page(PUBLIC)
    host = {"Host": "shop.example"}
    service.get(path, **{**host, **headers})
    assert service.get(path, **host).json()["url"] == "http://shop.example/page"


def test_old_clients_without_a_host(service: Service) -> None:
    path = page(PUBLIC)

    def url(*lines: str) -> str:
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
            client.sendall("\r\n".join([f"GET {path} HTTP/1.0", *lines, "", ""]).encode())
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        return answer.decode().partition('"url":')[2].split('"')[1]

    assert url("Host: a.example") == "http://a.example/page"
    assert "a.example" not in url()


def test_streams_and_what_is_cut_short(service: Service) -> None:
    # One that ends too early looks like one that has ended.
    assert [STATUS in service.get("/stream").headers for _ in range(2)] == [False, False]
    calls = 0
    for _ in range(2):
        with suppress(httpx.RemoteProtocolError):  # or the server has sent nothing of it yet
            assert service.get("/cut").status_code >= 500
        assert service.calls("/cut?") > calls
        calls = service.calls("/cut?")


def test_a_client_that_leaves_early(service: Service) -> None:
    path = page(PUBLIC, size="300000", sleep="0.5")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode())
        wait_for(lambda: service.calls(path), 10, "the call")
    for _ in range(2):
        assert len(service.get(path).json()["filler"]) == 300000


# --- behind proxies ------------------------------------------------------------------------------

SHOP = {"X_Forwarded_Host": "shop.example", "X_Forwarded_Proto": "https"}


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


def test_who_is_no_proxy_fills_no_page_of_theirs(proxied: Service) -> None:
    path = page(PUBLIC)
    host = f"127.0.0.1:{proxied.port}"
    lines = {"Host": host, **{name.replace("_", "-"): value for name, value in SHOP.items()}}
    code = "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], headers=HEADERS))"
    url, headers = f"http://127.0.0.1{path}", repr(lines)
    assert proxied.container.execute("python3", "-c", code.replace("HEADERS", headers), url)[0] == 0
    assert proxied.calls(path) == 1
    assert proxied.get(path, **SHOP).json()["url"] == "https://shop.example/page"


# --- too old, or broken --------------------------------------------------------------------------


@pytest.fixture
def breakable(service: Service) -> Iterator[Service]:
    """The service, whose pages are well again after the test."""
    yield service
    service.run("rm -f /tmp/broken")


def test_nothing_is_served_for_longer_than_it_may(breakable: Service) -> None:
    path = page("Cache-Control:public, max-age=1")
    first = breakable.call(path)
    breakable.run("touch /tmp/broken")
    wait_for(lambda: breakable.get(path).status_code == 500, 10, "the page to be too old")
    breakable.run("rm /tmp/broken")
    assert breakable.call(path) != first


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
    service.run("echo 0 > /tmp/broken")
    service.container.wait_for_log("replacing worker")
    wait_for(lambda: service.get(path).status_code == 500, 10, "an error of the application")


def test_an_old_page_is_served_while_another_is_made(service: Service) -> None:
    path = page("Cache-Control:public, max-age=3, stale-while-revalidate=600", sleep="1")
    first = service.call(path)
    wait_for(lambda: service.get(path).headers[STATUS] == "STALE", 10, "the page to be too old")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: service.container.get(path), range(12)))
    assert {answer.json()["call"] for answer in answers} == {first}
    wait_for(lambda: service.call(path) != first, 15, "another page")
    assert service.calls(path) == 2


def test_a_page_survives_a_crash(start: Start) -> None:
    service = start({"WEB_CONCURRENCY": "3"})
    kept, old = page(PUBLIC), page("Cache-Control:public, max-age=1, stale-while-revalidate=600")
    first, second = service.call(kept), service.call(old)
    service.run("kill -9 $(grep -liE '[u]wsgi|[g]unicorn' /proc/*/cmdline | cut -d/ -f3)")
    assert service.call(kept) == first
    assert service.get(old).json()["call"] == second
    service.container.wait_for_log("; restarting ")
    service.container.wait_until_serving()
    wait_for(lambda: service.call(old) != second, 15, "another page")
    assert service.call(kept) == first


def test_a_reload_empties_it(start: Start) -> None:
    service = start({"WEB_CONCURRENCY": "3"})
    path = page(PUBLIC)
    first = service.call(path)
    assert service.call(path) == first
    service.run("docker-flask reload")
    second = service.call(path)
    assert second != first
    # Once more, when the old generation is gone; then they stay.
    wait_for(lambda: service.get(path).headers[STATUS] == "HIT", 10, "the page to be kept")
    assert "version mismatch" not in service.container.logs()


# --- at the same time ----------------------------------------------------------------------------


def test_pages_that_nobody_shares_wait_for_nobody(start: Start) -> None:
    service = start({"WEB_CONCURRENCY": "4"})
    path = page("Cache-Control:private", sleep="2")
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.container.get(path, timeout=30), range(4)))
    assert len({answer.json()["call"] for answer in answers}) == 4
    assert_within(7, time.monotonic() - begun)  # one after the other, it is 8


# --- bounds --------------------------------------------------------------------------------------


def test_it_can_be_off(start: Start) -> None:
    service = start({"RESPONSE_CACHE": "off"})
    path = page(PUBLIC)
    answers = [service.get(path) for _ in range(2)]
    assert answers[0].json()["call"] != answers[1].json()["call"]
    assert not any(STATUS in answer.headers for answer in answers)


def kilobytes(service: Service, folder: str = "/run/docker-flask/cache") -> int:
    return int(service.container.execute("du", "-sk", folder)[1].split()[0])


@pytest.mark.nightly
def test_it_has_a_size(start: Start) -> None:
    service = start({"RESPONSE_CACHE": "1m"})
    for _ in range(60):
        assert service.get(page(PUBLIC, size="60000")).headers[STATUS] == "MISS"
    wait_for(lambda: kilobytes(service) <= 1100, 40, "the cache to shrink", every=0.5)
    assert kilobytes(service) > 300
    # One page does not take its whole room.
    path = page(PUBLIC, size="200000")
    assert [STATUS in service.get(path).headers for _ in range(2)] == [False, False]


def test_wherever_the_container_may_write(start: Start) -> None:
    service = start(read_only=True, tmpfs={"/tmp": ""}, user="4321", cap_drop=["ALL"])
    path = page(PUBLIC)
    assert service.call(path) == service.call(path)


def test_a_full_disk_costs_no_answer(start: Start) -> None:
    service = start(tmpfs={"/run/docker-flask": "size=16m,uid=33,gid=33"})
    path = page(PUBLIC, size="100000")
    assert service.call(path) == service.call(path)
    service.run("cat /dev/zero > /run/docker-flask/full 2>/dev/null || true")
    for _ in range(3):
        answer = service.get(page(PUBLIC, size="100000"))
        assert answer.status_code == 200
        assert len(answer.json()["filler"]) == 100000
        assert STATUS not in answer.headers
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
    start: Start, module_folder: Path, folder: str, snippet: str, cached: bool
) -> None:
    file = module_folder / f"{folder}.conf"
    file.write_text(snippet)
    mount = {str(file): {"bind": f"/etc/nginx/{folder}/own.conf", "mode": "ro"}}
    service = start(volumes={str(APPS / "cache"): {"bind": "/app", "mode": "ro"}, **mount})
    path = page() if cached else page(PUBLIC)
    assert (service.call(path) == service.call(path)) == cached
    assert cached or STATUS not in service.get(path).headers
