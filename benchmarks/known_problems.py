"""Known problems of users, with this image and a tutorial's: `make measure WHAT=known-problems`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from benchmarks import common
from benchmarks.common import Subject
from tests.support.harness import APPS, IMAGE, Container

PEER = "tutorial"
NEVER = "no answer"
SECONDS = 10.0  # that a container has to serve


Probe = Callable[[Subject], str]


def ask(container: Container, path: str = "/", method: str = "GET", **options: Any) -> str:
    """The status of an answer, with its text where that is short."""
    try:
        response = httpx.request(method, container.url(path), timeout=70, **options)
    except (httpx.TransportError, KeyError, TypeError, IndexError):
        return NEVER
    text = response.text.strip() if response.status_code < 400 else ""
    return f"{response.status_code} {text}".strip() if len(text) < 60 else str(response.status_code)


def simply(
    path: str = "/", method: str = "GET", run: dict[str, Any] | None = None, **options: Any
) -> Probe:
    """A probe that asks one question; `run` is how the container is started."""

    def probe(subject: Subject) -> str:
        with subject.running(SECONDS, **(run or {})) as container:
            return ask(container, path, method, **options)

    return probe


def unread_bodies(subject: Subject) -> str:
    with subject.running(SECONDS) as container:
        answers = [ask(container, "/unread", "POST", content=b"x" * 3_000_000) for _ in range(20)]
        return f"{answers.count('401')} of 20 answered with 401"


def chunked(subject: Subject) -> str:
    with subject.running(SECONDS) as container:
        blocks = (b"x" * 100_000 for _ in range(30))
        return ask(container, "/length", "POST", content=blocks) + " bytes seen"


def slow_download(subject: Subject) -> str:
    """More than nginx puts into a temporary file, to a client that pauses for six seconds."""
    megabytes, received = 1200, 0
    with (
        subject.running(SECONDS) as container,
        suppress(httpx.TransportError),
        httpx.stream(
            "GET", container.url(f"/generated?length&mb={megabytes}"), timeout=30
        ) as answer,
    ):
        for block in answer.iter_raw(1 << 20):
            if not received:
                time.sleep(6)
            received += len(block)
    return f"{received >> 20} of {megabytes} MB"


def events(subject: Subject) -> str:
    with subject.running(SECONDS) as container:
        begun, arrived = time.monotonic(), []
        with httpx.stream("GET", container.url("/events"), timeout=10) as answer:
            for line in answer.iter_lines():
                if line:
                    arrived.append(f"{time.monotonic() - begun:.1f}")
    return f"four events at {', '.join(arrived)} s"


def too_long(subject: Subject) -> str:
    with subject.running(SECONDS, env={"REQUEST_TIMEOUT": "2"}) as container:
        begun = time.monotonic()
        status = ask(container, "/sleep?s=75")
        return f"{status} after {time.monotonic() - begun:.0f} s"


def stopping(subject: Subject) -> str:
    with subject.running(SECONDS) as container:
        with socket.create_connection(("127.0.0.1", container.port())) as client:
            client.sendall(b"GET /sleep?s=3 HTTP/1.0\r\n\r\n")
            time.sleep(0.5)
            code, took = container.stop()
            client.settimeout(1)
            with suppress(OSError):
                answer = client.recv(4096)
        got = "answered" if b" 200 " in answer[:20] else "cut"
        return f"request of 3 s {got}; exit code {code} after {took:.1f} s"


def broken_at_start(subject: Subject) -> str:
    folder = APPS / "broken"
    with subject.running(app=folder) as container:
        time.sleep(4)
        if not container.running():
            return f"ended with code {container.wait_for_exit()}"
        return f"runs, and answers {ask(container)}"


def killed_nginx(subject: Subject) -> str:
    with subject.running(SECONDS) as container:
        container.execute("bash", "-c", KILL_NGINX)
        time.sleep(1.5)
        state = "runs" if container.running() else "ended"
        return f"{state}; {ask(container) if state == 'runs' else NEVER}"


# The master first, or it would replace a worker before its own turn comes.
KILL_NGINX = """for role in master worker; do for p in /proc/[0-9]*; do
  if grep -qa "^nginx: $role" $p/cmdline; then kill -KILL ${p#/proc/}; fi
done; done"""


# Those of benchmarks/reports/known-problems.md that show from outside within seconds, by number.
PROBLEMS: dict[int, tuple[str, Probe]] = {
    1: ("16 KB of cookies", simply(headers={"Cookie": "a=" + "x" * 16_000})),
    2: ("20 bodies of 3 MB that the application does not read", unread_bodies),
    3: ("chunked upload of 3 MB", chunked),
    4: ("1.2 GB to a client that pauses 6 s", slow_download),
    5: ("16 KB in a response header", simply("/one-response-header?bytes=16000")),
    6: ("request over its time (ours: REQUEST_TIMEOUT=2)", too_long),
    8: ("upload of 2 MB", simply("/length", "POST", content=b"x" * 2_000_000)),
    9: ("server-sent events, one each half second", events),
    10: ("`docker stop` with a request in flight", stopping),
    11: ("application that can't be imported", broken_at_start),
    12: ("nginx is killed", killed_nginx),
    21: ("somaxconn of 16", simply(run={"sysctls": {"net.core.somaxconn": "16"}})),
    25: ("`--user 12345 --read-only`", simply(run={"user": "12345", "read_only": True})),
}


def main() -> None:
    """Ask both images, and print a table."""
    parser = common.parser(__doc__)
    numbers = list(PROBLEMS)
    parser.add_argument("--only", type=int, nargs="+", choices=numbers, default=numbers)
    chosen = parser.parse_args().only
    with common.engine("known-problems") as engine:
        print(common.about(engine))
        images = (common.build_peer(PEER), IMAGE)
        subjects = [Subject(engine, image, APPS / "http") for image in images]
        common.print_head("#", "problem", "the tutorials' image", "this one")
        for number in chosen:
            symptom, probe = PROBLEMS[number]
            common.print_row(number, symptom, *map(probe, subjects))


if __name__ == "__main__":
    main()
