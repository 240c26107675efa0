"""HTTP that just works, at the sizes that people meet: the same in production as in debug mode."""

from __future__ import annotations

import functools
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import trust
from tests.support.harness import (
    APPS,
    DEBUG,
    DEBUG_PORT,
    NO_TLS,
    PRODUCTION_PORT,
    TLS_PORT,
    Container,
    Engine,
    wait_for,
)
from tests.support.marks import at_night
from tests.support.servers import CHOSEN

KB, MB = 1 << 10, 1 << 20
TEXT = b"0123456789" * 1000
# Too long, also when it is compressed, to be sent as it is for its shortness.
NUMBERS = b"".join(b"%d\n" % (number**7) for number in range(1000))
BIG = 500 * MB
# Slower than a worker that is free answers, faster than one that is not.
SOON = 1.0


class Service:
    """A container with the application of this module, and the port that it serves on."""

    def __init__(self, container: Container, inside: int) -> None:
        self.container = container
        self.inside = inside
        self.port = container.port(inside)

    def get(self, path: str = "/", **options: Any) -> httpx.Response:
        return self.container.get(path, self.inside, **options)

    def post(self, path: str, content: bytes | Iterator[bytes]) -> httpx.Response:
        url = self.container.url(path, self.inside)
        return httpx.post(url, content=content, timeout=20, verify=NO_TLS)

    def stream(self, method: str, path: str, headers: dict[str, str]) -> Any:
        """A response whose body the test reads."""
        url = self.container.url(path, self.inside)
        return httpx.stream(method, url, headers=headers, timeout=20, verify=NO_TLS)

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return NO_TLS.wrap_socket(plain) if self.inside == TLS_PORT else plain

    def exchange(self, request: bytes) -> bytes:
        """Send a request as it is, and return all that comes until the server hangs up."""
        with self.connect() as client:
            client.sendall(request)
            return b"".join(iter(lambda: client.recv(64 * KB), b""))


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start(module_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a container in a mode and with settings, or return the one that was started so."""
    files = tmp_path_factory.mktemp("files")
    files.chmod(0o755)
    write_files(files)
    volumes = {
        str(APPS / "http"): {"bind": "/app", "mode": "ro"},
        str(files): {"bind": "/files", "mode": "ro"},
    }

    _, tls = trust.issue(files)
    volumes |= tls["volumes"]

    @functools.cache
    def run(mode: str = "production", **env: str) -> Service:
        command, inside = (DEBUG, DEBUG_PORT) if mode == "debug" else ([], PRODUCTION_PORT)
        env = {"WEB_CONCURRENCY": "2", **env, "FILES": "/files"}
        if mode == "https":
            env, inside = {**env, **tls["env"], "TLS_REDIRECT": "0"}, TLS_PORT
        return Service(module_engine.serve(command, env=env, volumes=volumes), inside)

    return run


def write_files(folder: Path) -> None:
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "packed.txt.gz").write_bytes(gzip.compress(NUMBERS))
    (folder / "empty.txt").touch()
    (folder / "a %41?#é.txt").write_bytes(b"odd")
    with (folder / "big.bin").open("wb") as big:
        big.truncate(BIG)


@pytest.fixture(scope="module", params=["production", *at_night("https")])
def production(start: Start, request: pytest.FixtureRequest) -> Service:
    return start(request.param)


@pytest.fixture(scope="module", params=["production", "debug", *at_night("https")])
def service(start: Start, request: pytest.FixtureRequest) -> Service:
    """For what holds in both modes."""
    return start(request.param)


def message(path: str, *lines: str, method: str = "GET") -> bytes:
    """The head of a request."""
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *lines, "", ""]
    ).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


# --- the size of headers -----------------------------------------------------------------------


def lines_of(count: int, size: int) -> list[str]:
    """So many header lines, each with a value of so many bytes."""
    return [f"X-Test-{number}: {'x' * size}" for number in range(count)]


@pytest.mark.parametrize(
    ("path", "lines", "seen"),
    [
        ("/headers", [f"Cookie: {'x' * 60_000}"], {"cookie": 60_000}),
        ("/headers", lines_of(60, 1000), {"mine": 60 * 1000}),
        (f"/headers?{'q' * 30_000}", [], {"query": 30_000}),
    ],
    ids=["one of 60 KB", "60 of 1 KB", "a query of 30 KB"],
)
def test_request_headers_of_up_to_64_kb(
    service: Service, path: str, lines: list[str], seen: dict[str, int]
) -> None:
    answer = service.exchange(message(path, *lines))
    assert status(answer) == 200, answer[:200]
    found = json.loads(body(answer))
    assert {name: found[name] for name in seen} == seen


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/headers", [f"Cookie: {'x' * 500_000}"]),
        ("/headers", lines_of(600, 100)),
        ("/headers", [f"{number:x}:" for number in range(8000)]),
        (f"/headers?{'q' * 40_000}", []),  # which WSGI passes on twice
        (f"/headers?{'q' * 70_000}", []),
    ],
    ids=["500 KB", "600 of 100 bytes", "8000 short", "a query of 40 KB", "a query of 70 KB"],
)
def test_larger_request_headers_are_refused_by_nginx(
    production: Service, path: str, lines: list[str]
) -> None:
    head = message(path, *lines, "Content-Length: 4", method="POST")
    with production.connect() as client:
        # Not more than nginx takes, or the kernel would tell of the rest before of the answer.
        client.sendall((head + b"body")[:120_000])
        answer = client.recv(64 * KB)
    assert status(answer) in {400, 414}, answer[:200]
    assert b"Server: nginx" in answer


def test_no_size_of_request_headers_is_a_fault_of_the_server(production: Service) -> None:
    """Around the limit, in steps smaller than what the servers add."""
    seen = [
        status(production.exchange(message("/headers", *lines_of(size // 200, 187))))
        for size in range(60_000, 66_000, 200)
    ]
    assert set(seen) == {200, 400}
    assert seen == sorted(seen), "refused from a certain size on"


def test_a_request_with_nothing_in_it(service: Service) -> None:
    """As of a load balancer that asks whether there is anybody."""
    found = json.loads(body(service.exchange(b"GET /bare HTTP/1.0\r\n\r\n")))
    assert found["given"] == {}
    assert re.fullmatch(r"https?://[\w.]+(:5000)?/bare", found["url"])


def test_response_headers_of_32_kb(service: Service) -> None:
    answer = service.exchange(message("/response-headers?kb=32"))
    assert (status(answer), body(answer)) == (200, b"ok"), answer[:200]
    assert answer.count(b"x") >= 32 * 1011


def test_response_headers_of_any_size_are_sent_or_named(production: Service) -> None:
    """Around the limit, above what one value may be for uWSGI, and twice that."""
    sizes = [*range(64_500, 66_000, 100), 70_000, 131_100]
    answers = [production.exchange(message(f"/one-response-header?bytes={n}")) for n in sizes]
    seen = [status(answer) for answer in answers]
    assert set(seen) == {200, 500}
    assert seen == sorted(seen), "refused from a certain size on"
    sent = [len(re.findall(b"x+", answer)[-1]) for answer in answers if status(answer) == 200]
    assert sent == sizes[: len(sent)]
    assert sent[-1] >= 65_300, "64 KB, but for the other headers"
    said = "'X-Test' alone 131,100; allowed are 65,536 in total"
    log = production.container.wait_for_log(said)
    assert log.count(said) == 1, "it is not tried again"


@pytest.mark.parametrize("query", ["", "?length"])
def test_an_answer_that_fails_before_its_first_byte(service: Service, query: str) -> None:
    said = "ValueError: before the first byte"
    before = service.container.logs().count(said)
    assert service.get(f"/fails-at-once{query}").status_code == 500
    wait_for(lambda: service.container.logs().count(said) > before, 5, "the error in the log")
    assert service.container.logs().count(said) == before + 1


@pytest.mark.parametrize("path", ["/passed-on", "/passed-on?length"])
def test_an_answer_from_elsewhere_is_passed_on(service: Service, path: str) -> None:
    answer = service.get(path)
    assert (answer.status_code, answer.text) == (200, "from elsewhere")
    assert len(answer.headers.get_list("Transfer-Encoding")) <= 1


def test_a_header_that_http_can_not_send(service: Service) -> None:
    """Python's server would not answer at all."""
    assert service.get("/not-latin").status_code == 500
    service.container.wait_for_log("ValueError: header ('Content-Disposition'")


# --- bodies of requests ------------------------------------------------------------------------


def test_a_body_that_nobody_reads(service: Service) -> None:
    upload = b"x" * (3 * MB)
    for _ in range(20):
        answer = service.post("/unread", upload)
        assert (answer.status_code, answer.json()) == (401, {"error": "not for you"})


@pytest.mark.parametrize("chunked", [False, True], ids=["", "chunked"])
def test_an_upload_arrives_whole(service: Service, chunked: bool) -> None:
    parts = (b"x" * 100_000 for _ in range(30))
    answer = service.post("/length", parts if chunked else b"".join(parts))
    assert answer.json() == {"length": 3_000_000}


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]], ids=["", "expect"])
def test_too_large_an_upload_is_refused_before_it_is_taken(start: Start, expect: list[str]) -> None:
    with start(MAX_UPLOAD="2m").connect() as client:
        client.settimeout(SOON)
        client.sendall(message("/length", f"Content-Length: {2 * MB + 1}", *expect, method="POST"))
        assert status(client.recv(64 * KB)) == 413


@pytest.mark.parametrize(("size", "expected"), [(2 * MB, 200), (2 * MB + KB, 413)])
def test_max_upload_counts_what_is_chunked(start: Start, size: int, expected: int) -> None:
    chunks = (b"x" * KB for _ in range(size // KB))
    assert start(MAX_UPLOAD="2m").post("/length", chunks).status_code == expected


# --- responses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "path", "encoding"),
    [
        ("production", "/events", "identity"),
        ("production", "/events", "gzip"),
        ("production", "/page", "gzip"),
        ("debug", "/events", "identity"),
    ],
)
def test_what_is_made_bit_by_bit_arrives_so(
    start: Start, mode: str, path: str, encoding: str
) -> None:
    """Four pieces, half a second apart, come one after the other."""
    headers = {"Accept-Encoding": encoding}
    with start(mode).stream("GET", path, headers=headers) as answer:
        times = [time.monotonic() for _ in answer.iter_raw()]
    assert times[-1] - times[0] > 1
    assert (answer.headers.get("Content-Encoding") == "gzip") == (path == "/page")


def download(service: Service, path: str, pause: float, after: int = 0) -> int:
    """Take an answer, with a pause (s) after so many bytes; returns how long its body was."""
    space = bytearray(MB)
    with service.connect() as client:
        # Of HTTP/1.0, so that what comes is the body and nothing of how it was cut into chunks.
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
        first = client.recv(64 * KB)
        assert status(first) == 200
        received = len(body(first))
        while received <= after:
            received += client.recv_into(space)
        time.sleep(pause)
        while count := client.recv_into(space):
            received += count
    return received


@pytest.mark.nightly
def test_a_generated_download_of_2_gb_is_not_cut(production: Service) -> None:
    size = download(production, "/generated?length&mb=2048", pause=6, after=1500 * MB)
    assert size == 2048 * MB


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_makes_an_answer_is_closed(service: Service, method: str) -> None:
    name = f"{method}-{time.monotonic_ns()}"
    answer = service.exchange(message(f"/closing/{name}", method=method))
    assert status(answer) == 200
    assert (b"a body" in answer) == (method == "GET")
    assert service.container.wait_for_log(f"closed {name}").count(f"closed {name}") == 1


@pytest.mark.parametrize(
    "path", ["/endless/{}", "/download?mb=40", "/files/big.bin", "/sleep?s=1", "/length"]
)
def test_a_client_that_leaves_is_no_error(production: Service, path: str) -> None:
    name = path.strip("/").partition("/")[0] + str(time.monotonic_ns())
    before = len(production.container.logs())
    with production.connect() as client:
        if path == "/length":
            head = message(path, f"Content-Length: {MB}", method="POST")
            client.sendall(head + b"x" * 1000)
        else:
            client.sendall(message(path.format(name)))
        if "sleep" not in path and path != "/length":
            client.recv(KB)
    if "endless" in path:
        production.container.wait_for_log(f"closed {name}")
    time.sleep(1.2 if "sleep" in path else 0.2)
    assert production.get().text == "hello\n"
    log = production.container.logs()[before:]
    assert not re.search(r"Traceback|\[error\]|OSError|!!!", log), log


@pytest.mark.parametrize(
    ("path", "packed"),
    [
        *((f"/typed?type={kind}", True) for kind in ("text/html", "application/json")),
        ("/typed?type=image/png", False),
        ("/typed?type=text/html&identity", False),
        ("/json", False),  # as small as it is
        ("/files/text.txt", True),
        ("/files/packed.txt.gz", True),
    ],
)
def test_text_is_compressed(production: Service, path: str, packed: bool) -> None:
    answer = production.get(path)
    plain = production.get(path, headers={"Accept-Encoding": "identity"})
    assert (answer.headers.get("Content-Encoding") == "gzip") == packed
    assert ("Accept-Encoding" in answer.headers.get("Vary", "")) == (packed and "gz" not in path)
    if "gz" not in path:
        assert answer.content == plain.content
        assert "gzip" not in plain.headers.get("Content-Encoding", "")
    else:
        assert answer.content == NUMBERS, "compressed once"


# --- files -------------------------------------------------------------------------------------

# A validator that the server has sent stands here for its name.
REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "whole": ("/files/text.txt", {}),
    "odd name": ("/files/a%20%2541%3F%23%C3%A9.txt", {}),
    "empty": ("/files/empty.txt", {}),
    "attachment": ("/attachment/text.txt", {}),
    "own validators": ("/cached/text.txt", {}),
    "missing": ("/files/missing.txt", {}),
    "known etag": ("/files/text.txt", {"If-None-Match": "ETag"}),
    "known date": ("/files/text.txt", {"If-Modified-Since": "Last-Modified"}),
    "not compared": ("/unconditional/text.txt", {"If-Modified-Since": "Last-Modified"}),
    "required other": ("/files/text.txt", {"If-Match": '"other"'}),
    "middle": ("/files/text.txt", {"Range": "bytes=4995-5004"}),
    "beyond the end": ("/files/text.txt", {"Range": "bytes=10000-"}),
    "range of own": ("/cached/text.txt", {"Range": "bytes=1-2", "If-Range": "ETag"}),
    "range of packed": ("/files/packed.txt.gz", {"Range": "bytes=1-2"}),
}
# What servers do as they like: the time, themselves, and how the length is told.
SERVERS_OWN = {
    "date",
    "server",
    "connection",
    "x-request-id",
    "accept-ranges",
    "expires",
    "transfer-encoding",
    "x-accel-buffering",
}


def asked(service: Service, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """What comes, but for what servers do as they like."""
    first = service.get(path, headers={"Accept-Encoding": "identity"})
    headers = {
        name: first.headers.get(value, "") if value in ("ETag", "Last-Modified") else value
        for name, value in headers.items()
    }
    headers = {"Accept-Encoding": "identity", **headers}
    with service.stream(method, path, headers=headers) as answer:
        content = b"".join(answer.iter_raw())
    fields = sorted(
        (name, value)
        for name, value in answer.headers.multi_items()
        if name not in SERVERS_OWN and (name, value) != ("vary", "Accept-Encoding")
    )
    return {"status": answer.status_code, "headers": fields, "body": content}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_files_are_the_same_whoever_sends_them(start: Start, name: str, method: str) -> None:
    expected = asked(start("debug"), method, *REQUESTS[name])
    print(expected["status"], expected["headers"], expected["body"][:50])
    for env in ({}, {"SENDFILE": "0"}, {"USE_X_SENDFILE": "1"}):
        service = start(WEB_CONCURRENCY="1", **env)
        assert asked(service, method, *REQUESTS[name]) == expected, env


@pytest.mark.parametrize(
    "path",
    ["/opened/text.txt", "/opened/text.txt?from=9990", "/pipe", "/bytesio"]
    + [f"/removed/{how}" for how in ("with", "replaced")],
)
def test_what_has_no_path_is_sent_by_a_worker(service: Service, path: str) -> None:
    whole = TEXT if path == "/opened/text.txt" else b"0123456789"
    for _ in range(5):
        answer = service.get(path)
        assert (answer.status_code, answer.content) == (200, whole)


@pytest.mark.parametrize(
    ("env", "path", "lines"),
    [
        ({}, "/cached/big.bin", []),
        ({}, "/opened/big.bin", []),
        ({}, "/files/big.bin", ["Range: bytes=1-"]),
        ({"USE_X_SENDFILE": "1"}, "/files/big.bin", []),
        ({"SENDFILE": "0"}, "/files/big.bin", []),
    ],
    ids=["cached", "opened", "range", "x-sendfile", "turned off"],
)
def test_a_file_does_not_hold_its_worker(
    start: Start, env: dict[str, str], path: str, lines: list[str]
) -> None:
    """Others are served while a client does not read on, unless that is turned off."""
    if "SENDFILE" in env and CHOSEN.has_greenlets:
        CHOSEN.skip("a greenlet does not hold its worker")
    single = start(WEB_CONCURRENCY="1", THREADS="1", **env)
    with single.connect() as client:
        client.sendall(message(path, *lines))
        assert status(client.recv(64 * KB)) in (200, 206)
        with pytest.raises(httpx.TimeoutException) if "SENDFILE" in env else nullcontext():
            assert single.get(timeout=SOON).status_code == 200


def test_only_the_application_can_name_a_file(production: Service) -> None:
    """Neither a client that knows the name, nor an application that passes on what it was told."""
    _, text = production.container.execute("cat", "/run/docker-flask/nginx.conf")
    (location,) = re.findall(r"location \^~ (/[0-9a-f]{32})/ {", text)
    names = production.get("/environment").json()["names"]
    assert not [name for name in names if name.startswith("DOCKER_FLASK")]
    answer = production.get(f"{location}/etc/passwd")
    assert (answer.status_code, "root:" in answer.text) == (404, False)
    encoded = f"/%{ord(location[1]):x}{location[2:]}"
    for target in (f"{location}/etc/passwd", f"{encoded}/etc/passwd?x"):
        answer = production.get("/forged", params={"to": target})
        assert (answer.status_code, answer.text) == (200, "harmless\n")


# --- threads -----------------------------------------------------------------------------------


def test_a_request_that_takes_too_long_costs_its_neighbours_nothing(start: Start) -> None:
    """One worker of many threads: uploads and downloads that outlast REQUEST_TIMEOUT go on."""
    timeout, pieces = 3, 10
    threads = "1" if CHOSEN.has_greenlets else "6"
    service = start(WEB_CONCURRENCY="1", THREADS=threads, REQUEST_TIMEOUT=str(timeout))

    def upload() -> bytes:
        with service.connect() as client:
            client.sendall(message("/length", f"Content-Length: {pieces * MB}", method="POST"))
            for _ in range(pieces):
                client.sendall(b"x" * MB)
                time.sleep((timeout + 2) / pieces)
            return body(b"".join(iter(lambda: client.recv(64 * KB), b"")))

    over = threading.Event()

    def others() -> set[int]:
        seen = set()
        while not over.wait(0.05):
            seen.add(service.get().status_code)
        return seen

    with ThreadPoolExecutor() as pool:
        try:
            healthy = pool.submit(others)
            downloads = [
                pool.submit(download, service, f"/{kind}?mb=40", timeout + 2)
                for kind in ("download", "generated")
            ]
            uploads = [pool.submit(upload) for _ in range(2)]
            time.sleep(0.2)
            assert service.get("/sleep?s=60").status_code == 504
            assert [each.result(30) for each in uploads] == [b'{"length":10485760}\n'] * 2
            assert [each.result(30) for each in downloads] == [40 * MB] * 2
            service.container.wait_for_log("a request took longer than REQUEST_TIMEOUT")
            time.sleep(1)
        finally:
            over.set()
        assert healthy.result(30) == {200}


STREAMS = """
import time
from flask import Flask, Response

app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"

def events(pauses):
    yield "data: first\\n\\n"
    for pause in pauses:
        time.sleep(pause)
        yield ": nothing new\\n\\n"

@app.get("/talks")
def talks():
    return Response(events([1] * 5), mimetype="text/event-stream")

@app.get("/silent")
def silent():
    return Response(events([600]), mimetype="text/event-stream")
"""


def test_a_stream_lives_by_its_comment_lines(engine: Engine, app_folder: Path) -> None:
    (app_folder / "app.py").write_text(STREAMS)
    container = engine.serve(app=app_folder, env={"WEB_CONCURRENCY": "2", "REQUEST_TIMEOUT": "2"})
    assert container.get("/talks").text.count(": nothing new") == 5
    with pytest.raises(httpx.RemoteProtocolError):
        container.get("/silent")
    log = container.wait_for_log("for REQUEST_TIMEOUT=2 seconds")
    if CHOSEN.has_greenlets:  # the log has what the worker ran
        return
    assert "it sent nothing for REQUEST_TIMEOUT=2 seconds: GET /silent, request " in log
    assert "in app.py:14 in events; replacing worker" in log
    assert "a request took longer" not in log
