"""HTTPS as an application and its clients see it, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import certificates, raw_http, trust
from tests.support.harness import (
    DEBUG,
    DEBUG_PORT,
    PRODUCTION_PORT,
    REQUEST_ID,
    ROOT,
    TLS_PORT,
    Container,
    Engine,
    command_in_netns,
)
from tests.support.loss import written_memory
from tests.support.marks import at_night
from tests.support.servers import SERVERS

APP = """
import time
from flask import Flask, Response, redirect, request, send_file, session, url_for
app = Flask(__name__)
app.secret_key, app.config["SESSION_COOKIE_SECURE"] = "x", True

@app.route("/", methods=["GET", "POST"])
def seen():
    session["a"] = 1
    body = sum(map(len, iter(lambda: request.stream.read(65536), b"")))
    return {
        "secure": request.is_secure, "scheme": request.environ["wsgi.url_scheme"], "body": body,
        "url": url_for("seen", _external=True), "client": request.remote_addr,
        "environ": {k: v for k, v in request.environ.items() if isinstance(v, str)},
    }

@app.get("/leave")
def leave():
    return redirect(url_for("seen", _external=True))

@app.get("/file")
def file():
    return send_file(__file__)

@app.get("/events")
def events():
    parts = (time.sleep(0.3) or f"data: {n}\\n\\n" for n in range(4))
    return Response(parts, mimetype="text/event-stream")

@app.get("/public")
def public():
    text = request.scheme + request.get_data(as_text=True) + str(time.monotonic_ns())
    return text, {"Cache-Control": "public, max-age=600"}
"""
HOST = "shop.example"
HSTS = "Strict-Transport-Security"
PUBLIC_CLIENT = "203.0.113.9"


class Service:
    """A container whose clients trust its root."""

    def __init__(self, container: Container, root: Any) -> None:
        self.container = container
        self.clients = {
            http2: httpx.Client(http2=http2, verify=trust.trusting(root), timeout=10)
            for http2 in (False, True)
        }
        container.wait_until_serving("/", TLS_PORT)

    def ask(self, path: str = "/", method: str = "GET", http2: bool = True, **how: Any) -> Any:
        """A request with the host's name, as a browser sends it."""
        how["headers"] = {"Host": HOST, **how.get("headers", {})}
        url = self.container.url(path, TLS_PORT)
        answer = self.clients[http2].request(method, url, **how)
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        return answer

    def seen(self, **how: Any) -> tuple[Any, ...]:
        found = self.ask(**how).json()
        return tuple(found[name] for name in ("scheme", "secure", "url"))


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start(module_engine: Engine, module_folder: Path) -> Iterator[Start]:
    """Start a container with settings and a server; each only once."""
    (module_folder / "app.py").write_text(APP)
    (module_folder / "static").mkdir()
    (module_folder / "static/large.bin").write_bytes(bytes(6_000_000))
    root, tls = trust.issue(module_folder)

    @functools.cache
    def run(name: str = "uwsgi", **env: str) -> Service:
        options = {"mem_limit": "512m", "volumes": tls["volumes"], "app": module_folder}
        env = {**tls["env"], "WEB_CONCURRENCY": "4", **env}
        service = Service(module_engine.run(server=SERVERS[name], env=env, **options), root)
        for client in service.clients.values():
            clients.enter_context(client)
        return service

    with contextlib.ExitStack() as clients:
        yield run


# --- what the application sees -----------------------------------------------------------------


@pytest.mark.parametrize(
    "server", ["uwsgi", "gunicorn-gthread", *at_night("gunicorn-sync", "gunicorn-gevent")]
)
def test_the_application_sees_https(start: Start, server: str) -> None:
    service = start(server, TLS_REDIRECT="0")
    of_tls, plain = ("https", True, f"https://{HOST}/"), ("http", False, f"http://{HOST}/")
    for http2 in (False, True):
        for claim in ({}, {"X-Forwarded-Proto": "http"}, {"X-Forwarded-Host": "evil.example"}):
            assert service.seen(http2=http2, headers=claim) == of_tls
        assert service.ask("/leave", http2=http2).headers["Location"] == f"https://{HOST}/"
        assert "; Secure;" in service.ask(http2=http2).headers["Set-Cookie"]
    claim = {"Host": HOST, "X-Forwarded-Proto": "https"}
    found = service.container.get(headers=claim).json()
    assert (found["scheme"], found["secure"], found["url"]) == plain


@pytest.mark.parametrize("server", ["uwsgi", *at_night("gunicorn-sync", "gunicorn-gevent")])
def test_a_proxy_that_encrypts_again(start: Start, server: str) -> None:
    service = start(server, TLS_REDIRECT="0", TRUSTED_PROXIES="private")
    assert service.seen() == ("https", True, f"https://{HOST}/"), "it says nothing"
    for claimed in ("https", "http"):
        by_proxy = {"X-Forwarded-Proto": claimed, "X-Forwarded-For": PUBLIC_CLIENT}
        assert service.seen(headers=by_proxy)[0] == claimed
        assert service.ask(headers=by_proxy).json()["client"] == PUBLIC_CLIENT
        assert service.container.get(headers=by_proxy).json()["scheme"] == claimed


def test_http2_has_the_same_environment(start: Start) -> None:
    service = start(TLS_REDIRECT="0")
    lines = [
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("X-Two", "a"),
        ("X-Two", "b"),
        ("Proxy", "evil"),
    ]
    url = service.container.url("/?x=%26", TLS_PORT)
    sent = [("Host", f"{HOST}:8443"), *lines, ("User-Agent", "me"), ("TE", "trailers")]
    seen = [
        client.post(url, headers=sent, content=b"abc").json()["environ"]
        for client in service.clients.values()
    ]
    differ = {key for key in {**seen[0], **seen[1]} if seen[0].get(key) != seen[1].get(key)}
    # HTTP/2 has no such header. nginx before 1.23 joins cookies of HTTP/2 only.
    differ -= {"HTTP_X_REQUEST_ID", "REMOTE_PORT", "HTTP_CONNECTION", "HTTP_COOKIE"}
    assert differ == {"SERVER_PROTOCOL"}
    wanted = {"SERVER_PROTOCOL": "HTTP/2.0", "HTTP_HOST": f"{HOST}:8443", "HTTPS": "on"}
    wanted |= {"HTTP_COOKIE": "a=1; b=2", "CONTENT_LENGTH": "3"}
    assert wanted.items() <= seen[1].items()
    assert seen[1]["HTTP_X_TWO"] in ("a, b", "b"), "nginx before 1.23 joins no lines"
    assert "HTTP_PROXY" not in seen[1]


@pytest.mark.parametrize("size", [16_000, 60_000])
def test_long_cookies(start: Start, size: int) -> None:
    service = start(TLS_REDIRECT="0")
    for http2 in (False, True):
        answer = service.ask(http2=http2, headers={"Cookie": "a=" + "x" * size})
        assert len(answer.json()["environ"]["HTTP_COOKIE"]) == size + 2


# --- port 80 -----------------------------------------------------------------------------------

HOSTS = ["", "a<b>", "shop.example@evil.example", "a\\b", "a#b", "a b", "\xe4.example", "a/b"]


def asked(service: Service, request: str) -> tuple[int, list[str], list[str]]:
    """Status, Location and HSTS of what port 80 answers to the first lines of a request."""
    port = service.container.port(PRODUCTION_PORT)
    message = f"{request}\r\nContent-Length: 3\r\n\r\nabc".encode("latin-1")
    (answer,) = raw_http.answers(raw_http.exchange(port, message, end=False), request.split()[0])
    return answer.status, answer.values("Location"), answer.values(HSTS)


@pytest.mark.parametrize("port", ["", ":8443"])
def test_port_80_redirects(start: Start, port: str) -> None:
    env = {"TLS_REDIRECT": port[1:]} if port else {}
    service = start(HSTS="31536000", HEALTH_PATH="/up", **env)
    publish = f"on port 80, 443 (docker run -p 80:80 -p {port[1:] or 443}:443)"
    service.container.wait_for_log(publish)
    target = "/a%0d%0aSet-Cookie:x/..//b?c=%26&d=//e"
    for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
        for host in (HOST, f"{HOST}:8091", HOST.upper()):
            found = asked(service, f"{method} {target} HTTP/1.1\r\nHost: {host}")
            assert found == (308, [f"https://{HOST}{port}{target}"], [])
    named = asked(service, f"GET http://{HOST}/a HTTP/1.1\r\nHost: other.example")
    assert named == (308, [f"https://{HOST}{port}/a"], [])
    found = asked(service, "GET //evil.example/ HTTP/1.1\r\nHost: [::1]:80")
    assert found == (308, [f"https://[::1]{port}//evil.example/"], [])
    assert asked(service, "GET /up HTTP/1.1\r\nHost: x") == (200, [], [])
    for host in HOSTS:
        assert asked(service, f"GET /evil.example HTTP/1.1\r\nHost: {host}") == (400, [], [])
    assert asked(service, "GET /evil.example HTTP/1.0") == (400, [], [])


def test_hsts_is_part_of_all_responses(start: Start) -> None:
    service = start(HSTS="31536000", HEALTH_PATH="/up")
    for path in ("/", "/none", "/file", "/static/large.bin", "/static/none", "//a", "/%00"):
        found = service.ask(path, http2=False, follow_redirects=False).headers
        assert found.get_list(HSTS) == ["max-age=31536000"], path


# --- as over HTTP ------------------------------------------------------------------------------


def test_no_request_id_comes_twice(start: Start) -> None:
    """Streams of one connection, and connections of both protocols."""
    service = start()
    with ThreadPoolExecutor(16) as pool:
        asked = pool.map(lambda number: service.ask(http2=number % 4 > 0), range(200))
        ids = [answer.headers["X-Request-ID"] for answer in asked]
    assert all(re.fullmatch(REQUEST_ID, each) for each in ids), ids
    assert len(set(ids)) == len(ids)


def test_bodies_over_http2(start: Start) -> None:
    service = start(TLS_REDIRECT="0", MAX_UPLOAD="2m")
    few = start(TLS_REDIRECT="0", MAX_UPLOAD="30k")  # httpx hangs if a refused body has to wait
    for one, size, status in (
        (service, 0, 200),
        (service, 3, 200),
        (service, 1_900_000, 200),
        (few, 30_000, 200),
        (few, 31_000, 413),
    ):
        parts = [b"x" * 1000] * (size // 1000) or [b"x" * size]
        for body in (b"".join(parts), iter(parts)):  # the second without Content-Length
            answer = one.ask(method="POST", content=body)
            assert answer.status_code == status
            assert status == 413 or answer.json()["body"] == size
    with service.clients[True].stream("GET", service.container.url("/events", TLS_PORT)) as answer:
        times = [time.monotonic() for _ in answer.iter_raw()]
    assert times[-1] - times[0] > 0.6, "a stream is not buffered"
    for path, size in (("/file", len(APP)), ("/static/large.bin", 6_000_000)):
        part = service.ask(path, headers={"Range": "bytes=-5"})
        assert (part.status_code, len(part.content)) == (206, 5)
        assert len(service.ask(path).content) == size


@pytest.mark.parametrize("path", ["/", "/static/none"])
def test_a_body_that_is_not_announced_is_no_upload(start: Start, path: str) -> None:
    """Over HTTP/2, a GET may have one, which no limit of uploads counts."""
    service = start(TLS_REDIRECT="0")
    for method in ("GET", "OPTIONS"):
        asked = functools.partial(service.ask, path, method)
        large = asked(content=iter([bytes(2_000_000)]))
        assert (large.status_code, "Request Entity Too Large" in large.text) == (413, True)
        assert asked(content=bytes(2_000_000)).status_code == asked().status_code
        assert asked(content=iter([bytes(900_000)])).status_code == asked().status_code


def test_the_cache_keeps_the_schemes_and_bodies_apart(start: Start) -> None:
    service = start(TLS_REDIRECT="0", RESPONSE_CACHE="1m")

    def page(path: str, **how: Any) -> str:
        return str(service.ask(path, **how).text)

    with_body = page("/public?a", content=iter([b"evil"]))
    assert with_body.startswith("httpsevil")
    kept = page("/public?a")
    assert re.fullmatch("https[0-9]+", kept), "a body is no part of a shared page"
    assert page("/public?a") == page("/public?a", http2=False) == kept
    headers = {"Host": HOST}
    assert re.fullmatch("http[0-9]+", service.container.get("/public?a", headers=headers).text)


# --- debug mode --------------------------------------------------------------------------------


def test_debug_mode(engine: Engine, app_folder: Path, tmp_path: Path) -> None:
    (app_folder / "app.py").write_text(APP)
    certs = tmp_path / "certs"
    certificates.write(certs, "127.0.0.1")
    env = {"TLS_CERTIFICATE": "/certs/tls.crt", "TLS_KEY": "/certs/tls.key"}
    container = engine.run(DEBUG, app=app_folder, env=env, volumes=certificates.mounted(certs))
    container.wait_for_log("serving app:app")
    plain = container.url("/", DEBUG_PORT)
    with httpx.Client(verify=trust.trusting(certificates.ROOT), headers={"Host": HOST}) as client:
        found = client.get(plain.replace("http", "https"))
        assert "; Secure;" in found.headers["Set-Cookie"]
        seen = found.json()
        assert (seen["scheme"], seen["url"]) == ("https", f"https://{HOST}/")
        with pytest.raises(httpx.TransportError):
            client.get(plain)
        container.wait_for_log("no HTTPS connection")
        # The next edit takes up another certificate, too.
        new = certificates.write(certs, "127.0.0.1")
        (app_folder / "app.py").write_text(f"{APP}\n")
        certificates.wait_until_served(container, new, at=DEBUG_PORT)


# --- handshakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_any_worker_of_nginx_resumes_a_session(start: Start, tmp_path: Path, version: str) -> None:
    """From the cache that they share: a ticket is a number, and has nothing in it."""
    service = start(TLS_REDIRECT="0")
    address = f"127.0.0.1:{service.container.port(TLS_PORT)}"
    words = ["openssl", "s_client", f"-{version}", "-connect", address, "-ign_eof"]

    def handshake(*options: str) -> str:
        asked = "GET /none HTTP/1.0\r\n\r\n"  # TLS 1.3 sends tickets after the handshake
        done = subprocess.run(
            [*words, *options], input=asked, capture_output=True, text=True, timeout=10
        )
        return done.stdout

    for _ in range(6):
        first = handshake("-sess_out", str(tmp_path / "session"))
        assert "New, TLSv1" in first
        assert len(re.findall("^ +00[0-9a-f]0 - ", first, re.M)) <= (4 if version[-1] == "3" else 0)
        assert "Reused, TLSv1" in handshake("-sess_in", str(tmp_path / "session"))


# cert_revocation: of the test's own root. cipher_order: Mozilla lets the client choose, because all
# these ciphers are strong; testssl.sh from 3.2 on agrees. BREACH: compressed pages (docs/https.md).
# security_headers: the application's.
NOT_OURS = {"cert_revocation", "cipher_order", "BREACH", "security_headers"}


@pytest.mark.nightly
@pytest.mark.timeout(400)
def test_testssl_has_nothing_above_low(start: Start, module_folder: Path, tmp_path: Path) -> None:
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program:
        pytest.skip("testssl.sh is missing: tools/install testssl")
    service = start(HSTS="31536000", HEALTH_PATH="/up")
    words = [program, "--quiet", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none"]
    words += ["--add-ca", str(module_folder / "certs/root.pem"), "--jsonfile", "found.json"]
    url = f"https://{HOST}:{service.container.port(TLS_PORT)}"
    subprocess.run([*words, url], cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=380)
    rows = json.loads((tmp_path / "found.json").read_text())
    found = {row["id"]: (row["severity"], row["finding"]) for row in rows}
    bad = {key: one for key, one in found.items() if one[0] in ("MEDIUM", "HIGH", "CRITICAL")}
    assert {key: bad[key] for key in bad if key not in NOT_OURS} == {}
    assert found.get("overall_grade", ("", "A+"))[1] == "A+"  # testssl.sh before 3.2 has no grades
    assert found["HSTS_time"][0] == found["ALPN_HTTP2"][0] == found["cert_trust"][0] == "OK"


# --- attacks on HTTP/2 -------------------------------------------------------------------------

# Kinds that stopped the service, with connections: 128 requests each.
HELD = {"get-without-end": 60, "no-window": 300, "no-window-static": 100, "post-without-end": 60}
# 32 requests each; with 115 connections, they took 512 MB.
HELD |= {"large-headers": 250, "large-headers-refused": 250}
# Seconds of CPU time for which nginx may work before it responds to another client.
WAIT = 0.1
FLOODS = ["rapid-reset", "continuation", "empty-continuation", "empty-data", "settings", "ping"]


@pytest.mark.alone
@pytest.mark.parametrize(
    "kind",
    [
        "no-window",
        "large-headers",
        *at_night(
            "no-window-static",
            "get-without-end",
            "post-without-end",
            "large-headers-refused",
        ),
    ],
)
def test_requests_that_wait_for_their_client_stop_nobody(start: Start, kind: str) -> None:
    env = {"TRUSTED_PROXIES": "private", "HEALTH_PATH": "/up", "ACCESS_LOG": "0"}
    service = start(TLS_REDIRECT="0", **env)
    attacked(service, kind, HELD[kind], 4)


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize("kind", [*FLOODS, "priority", "hpack-bomb"])
def test_floods_of_frames(start: Start, kind: str) -> None:
    service = start(TLS_REDIRECT="0", TRUSTED_PROXIES="private", ACCESS_LOG="0")
    attacked(service, kind, 4, 10)


def attacked(service: Service, kind: str, connections: int, seconds: int) -> None:
    """A client with another address gets its responses meanwhile."""
    words = [sys.executable, "-m", "tests.support.http2_attacks", "--kind", kind]
    words += ["--connections", str(connections), "--seconds", str(seconds)]
    command = command_in_netns(service.container.pid, words)
    pids, statuses, times = service.container.pids("nginx: worker"), set(), list[float]()
    cpu, busy = service.container.worker_cpu(), list[float]()
    attack = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        while attack.poll() is None:
            begun, worked = time.monotonic(), cpu()
            statuses.add(service.ask(http2=False).status_code)  # nginx ends HTTP/2 after 1,000
            times.append(time.monotonic() - begun)
            busy.append(cpu() - worked)
            time.sleep(0.05)
            memory = written_memory(service.container) >> 20 if len(times) % 20 == 10 else 0
            assert memory < 400, f"{memory} MB"
    finally:
        attack.kill()
        p95, work = (sorted(one)[int(len(one) * 0.95)] for one in (times, busy))
        print(kind, attack.communicate()[0].strip(), f"p95 {p95:.3f} s, nginx works {work:.3f} s")
    # A flood of requests may fill the queue, over HTTP/1.1, too.
    assert statuses <= ({200, 503} if kind == "rapid-reset" else {200})
    assert service.container.pids("nginx: worker") == pids
    assert work < WAIT
