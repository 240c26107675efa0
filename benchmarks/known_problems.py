"""Known problems of users, with this image and a tutorial's: `make measure WHAT=known-problems`.

python -m benchmarks.known_problems --out benchmarks/reports/known-problems.md
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.peer_images import build
from tests.support.harness import APPS, BASE_IMAGE, IMAGE, Container, Engine

ROOT = Path(__file__).parents[1]

PEER = "tutorial"
NEVER = "no answer"


class Subject:
    """One of the two images: starts its containers with the application of the problems."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image

    @contextmanager
    def running(self, wait: bool = True, **options: Any) -> Iterator[Container]:
        """A container for one question; `wait` until it serves, for ten seconds at most."""
        app = options.pop("app", APPS / "known_problems")
        container = self.engine.run(image=self.image, app=app, **options)
        try:
            if wait:
                with suppress(AssertionError):
                    container.wait_until_serving(seconds=10)
            yield container
        finally:
            self.engine.remove_containers()


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
) -> Callable[[Subject], str]:
    """A probe that asks one question; `run` is how the container is started."""

    def probe(subject: Subject) -> str:
        with subject.running(**(run or {})) as container:
            return ask(container, path, method, **options)

    return probe


def unread_bodies(subject: Subject) -> str:
    with subject.running() as container:
        answers = [ask(container, "/denied", "POST", content=b"x" * 3_000_000) for _ in range(20)]
        return f"{answers.count('401')} of 20 answered with 401"


def chunked(subject: Subject) -> str:
    with subject.running() as container:
        blocks = (b"x" * 100_000 for _ in range(30))
        return ask(container, "/length", "POST", content=blocks) + " bytes seen"


def slow_download(subject: Subject) -> str:
    """More than nginx puts into a temporary file, to a client that pauses for six seconds."""
    megabytes, received = 1200, 0
    with (
        subject.running() as container,
        suppress(httpx.TransportError),
        httpx.stream("GET", container.url(f"/download?mb={megabytes}"), timeout=30) as answer,
    ):
        for block in answer.iter_raw(1 << 20):
            if not received:
                time.sleep(6)
            received += len(block)
    return f"{received >> 20} of {megabytes} MB"


def events(subject: Subject) -> str:
    with subject.running() as container:
        begun, arrived = time.monotonic(), []
        with httpx.stream("GET", container.url("/events"), timeout=10) as answer:
            for line in answer.iter_lines():
                if line:
                    arrived.append(f"{time.monotonic() - begun:.1f}")
    return f"four events at {', '.join(arrived)} s"


def too_long(subject: Subject) -> str:
    with subject.running(env={"REQUEST_TIMEOUT": "2"}) as container:
        begun = time.monotonic()
        status = ask(container, "/sleep?s=75")
        return f"{status} after {time.monotonic() - begun:.0f} s"


def stopping(subject: Subject) -> str:
    with subject.running() as container:
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
    folder = ROOT / "tests/apps/broken"
    with subject.running(app=folder, wait=False) as container:
        time.sleep(4)
        if not container.running():
            return f"ended with code {container.wait_for_exit()}"
        return f"runs, and answers {ask(container)}"


def killed_nginx(subject: Subject) -> str:
    with subject.running() as container:
        container.execute("bash", "-c", KILL_NGINX)
        time.sleep(1.5)
        state = "runs" if container.running() else "ended"
        return f"{state}; {ask(container) if state == 'runs' else NEVER}"


# The master first, or it would replace a worker before its own turn comes.
KILL_NGINX = """for role in master worker; do for p in /proc/[0-9]*; do
  if grep -qa "^nginx: $role" $p/cmdline; then kill -KILL ${p#/proc/}; fi
done; done"""


def idle_memory(subject: Subject) -> str:
    with subject.running() as container:
        usage = container.docker.stats(stream=False)["memory_stats"]["usage"]
        return f"{usage / 1e6:.0f} MB idle"


def workers(subject: Subject) -> str:
    with subject.running(nano_cpus=1_000_000_000) as container:
        time.sleep(1)
        table = container.docker.top(ps_args="-o pid,ppid,args")["Processes"]
        servers = [row for row in table if "uwsgi" in row[2].lower()]
        return f"{len(servers) - 1} workers for --cpus 1"


def background(subject: Subject) -> str:
    with subject.running() as container:
        time.sleep(2)
        ticks = int(ask(container, "/ticks").removeprefix("200").strip() or 0)
        return "runs" if ticks > 5 else "stands still"


def forged_scheme(subject: Subject) -> str:
    with subject.running() as container:
        return ask(container, "/scheme", headers={"X-Forwarded-Proto": "javascript"})


def client_address(subject: Subject) -> str:
    with subject.running(env={"TRUSTED_PROXIES": "private"}) as container:
        return ask(container, "/address", headers={"X-Forwarded-For": "203.0.113.7"})


def aborts(subject: Subject) -> str:
    with subject.running() as container:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", container.port())) as client:
                client.sendall(b"GET /download?mb=200 HTTP/1.0\r\n\r\n")
                client.recv(1000)
        time.sleep(2)
        log = container.logs()
        return f"{log.count('write error')} x write error, {log.count('Traceback')} tracebacks"


def json_log(subject: Subject) -> str:
    with subject.running() as container:
        ask(container, "/", headers={"User-Agent": 'a"b\\c'})
        time.sleep(1.5)
        lines = [line for line in container.logs().splitlines() if "GET / HTTP" in line]
        return f"`{lines[-1].split('HTTP/1.1', 1)[-1].strip()[:60]}`" if lines else "not in the log"


@dataclass(frozen=True)
class Problem:
    """One problem: what is seen, and the test that covers it."""

    number: int
    symptom: str
    test: str
    probe: Callable[[Subject], str] | None = None


PROBLEMS = [
    Problem(
        1,
        "16 KB of cookies",
        probe=simply(headers={"Cookie": "a=" + "x" * 16_000}),
        test="tests/image/test_http.py::test_request_headers_of_up_to_64_kb",
    ),
    Problem(
        2,
        "20 bodies of 3 MB that the application does not read",
        probe=unread_bodies,
        test="tests/image/test_http.py::test_a_body_that_nobody_reads",
    ),
    Problem(
        3,
        "chunked upload of 3 MB",
        probe=chunked,
        test="tests/image/test_http.py::test_a_chunked_upload_arrives_whole",
    ),
    Problem(
        4,
        "1.2 GB to a client that pauses 6 s",
        probe=slow_download,
        test="tests/image/test_http.py::test_a_generated_download_of_2_gb_is_not_cut",
    ),
    Problem(
        5,
        "16 KB in a response header",
        probe=simply("/header?n=16000"),
        test="tests/image/test_http.py::test_response_headers_of_32_kb",
    ),
    Problem(
        6,
        "request over its time (ours: REQUEST_TIMEOUT=2)",
        probe=too_long,
        test="tests/image/test_loss.py::test_a_view_that_never_answers",
    ),
    Problem(
        7,
        "`send_file(BytesIO)`",
        probe=simply("/memory-file"),
        test="tests/image/test_http.py::test_what_has_no_path_is_sent_by_a_worker",
    ),
    Problem(
        8,
        "upload of 2 MB",
        probe=simply("/length", "POST", content=b"x" * 2_000_000),
        test="tests/image/test_http.py::test_an_upload_of_2_mb_arrives_whole",
    ),
    Problem(
        9,
        "server-sent events, one each half second",
        probe=events,
        test="tests/image/test_http.py::test_what_is_made_bit_by_bit_arrives_so",
    ),
    Problem(
        10,
        "`docker stop` with a request in flight",
        probe=stopping,
        test="tests/image/test_loss.py::test_stop_under_load_loses_nothing",
    ),
    Problem(
        11,
        "application that can't be imported",
        probe=broken_at_start,
        test="tests/image/test_bad_input.py::test_ends_with_the_reason",
    ),
    Problem(
        12,
        "nginx is killed",
        probe=killed_nginx,
        test="tests/image/test_loss.py::test_killed_server",
    ),
    Problem(
        13,
        "threads, time limits and slow uploads together",
        test="tests/image/test_http.py::test_a_request_that_takes_too_long_costs_its_neighbours_nothing",
    ),
    Problem(
        14,
        "zombies; debug mode that ignores a stop",
        test="tests/image/test_loss.py::test_orphaned_grandchildren_leave_no_zombies",
    ),
    Problem(
        15,
        "reload by `docker kill -s HUP`",
        test="tests/image/test_loss.py::test_reload_by_signal_under_load_loses_nothing",
    ),
    Problem(
        16,
        "failing or CRLF prestart.sh",
        test="tests/image/test_migration.py::test_prestart_is_sourced",
    ),
    Problem(
        17,
        "memory per possible file descriptor",
        probe=idle_memory,
        test="tests/image/test_hardship.py::test_tight_limits",
    ),
    Problem(18, "workers for the host's CPUs", probe=workers, test="tests/unit/test_limits.py"),
    Problem(
        19,
        "connections opened at import: application is loaded",
        probe=simply("/loaded"),
        test="tests/image/test_runtime.py::test_each_worker_opens_its_own_connections",
    ),
    Problem(
        20,
        "background thread of the application",
        probe=background,
        test="tests/image/test_runtime.py::test_a_background_thread_runs",
    ),
    Problem(
        21,
        "somaxconn of 16",
        probe=simply(run={"sysctls": {"net.core.somaxconn": "16"}}),
        test="tests/image/test_hardship.py::test_tight_limits",
    ),
    Problem(
        22,
        "memory that grows; all workers recycled at once",
        test="tests/image/test_runtime.py::test_workers_are_replaced_without_a_loss",
    ),
    Problem(
        23,
        "hangs after an OOM kill with thunder-lock",
        test="tests/image/test_loss.py::test_a_leak_costs_its_worker_only",
    ),
    Problem(
        24,
        "numpy deadlocks",
        test="tests/image/test_runtime.py::test_numpy_in_workers_and_threads_and_after_a_reload",
    ),
    Problem(
        25,
        "`--user 12345 --read-only`",
        probe=simply(run={"user": "12345", "read_only": True}),
        test="tests/image/test_production.py::test_any_user",
    ),
    Problem(
        26,
        "client says `X-Forwarded-Proto: javascript`",
        probe=forged_scheme,
        test="tests/image/test_proxies.py::test_nobody_else_can_say_anything",
    ),
    Problem(
        27,
        "client's address behind a proxy (ours: TRUSTED_PROXIES)",
        probe=client_address,
        test="tests/image/test_proxies.py::test_what_a_trusted_proxy_may_say",
    ),
    Problem(
        28,
        "debugger exposed, or refusing to work",
        test="tests/image/test_debug.py::test_hosts_that_may_use_it",
    ),
    Problem(
        29,
        "stale base; nobody knows what is in it",
        test="tests/image/test_build.py::test_scanners_find_what_is_installed",
    ),
    Problem(
        30,
        "`UWSGI_PORT_80_TCP` in the environment",
        probe=simply(run={"env": {"UWSGI_PORT_80_TCP": "tcp://10.0.0.1:80"}}),
        test="tests/image/test_migration.py::test_stray_variables_of_a_service_called_uwsgi",
    ),
    Problem(
        31,
        "syntax error in debug mode",
        test="tests/image/test_debug.py::test_broken_from_the_start_and_mended",
    ),
    Problem(
        32,
        "edits unnoticed where inotify does not reach",
        test="tests/image/test_debug.py::test_no_events_and_no_watchdog",
    ),
    Problem(
        33,
        "files of root's in the source tree",
        test="tests/image/test_debug.py::test_what_it_writes_belongs_to_the_owner_of_the_folder",
    ),
    Problem(
        34,
        'log line for the user agent `a"b\\c`',
        probe=json_log,
        test="tests/image/test_runtime.py::test_access_log_in_json_is_json_whatever_is_asked",
    ),
    Problem(
        35,
        "health probes in the log",
        test="tests/image/test_runtime.py::test_health_checks_leave_no_line",
    ),
    Problem(
        36,
        "five clients that leave in mid-download",
        probe=aborts,
        test="tests/image/test_http.py::test_a_client_that_leaves_is_no_error",
    ),
    Problem(
        37,
        "`/static` swallows `/static-pages`",
        probe=simply("/static-pages"),
        test="tests/image/test_static.py::test_the_application_answers",
    ),
    Problem(
        38,
        "nginx can't be extended",
        test="tests/image/test_migration.py::test_snippets_at_three_levels",
    ),
    Problem(
        39,
        "build: compiler, size, PCRE, proxies, private authorities",
        test="tests/image/test_build.py::test_size",
    ),
    Problem(
        40,
        "no way out of uWSGI",
        test="tests/image/test_servers.py::test_each_serves_as_the_others_do",
    ),
]


def exists(test: str) -> bool:
    """Whether a test is where the table says."""
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text()
    return bool(re.search(rf"^def {name}\(", text, re.MULTILINE) if name else text)


def row(problem: Problem, theirs: str, ours: str) -> str:
    """One line of the table."""
    return f"| {problem.number} | {problem.symptom} | {theirs} | {ours} | `{problem.test}` |"


def report(rows: list[str], engine: Engine) -> str:
    """The Markdown text."""
    return "\n".join(
        [
            "# What users of such images suffer from",
            "",
            "By `make measure WHAT=known-problems` on "
            f"{datetime.now(UTC):%Y-%m-%d}, base image `{BASE_IMAGE}`, engine "
            f"{engine.client.version()['Version']}. Each was done to the image of the tutorials",
            "(benchmarks/peers/tutorial: nginx and uWSGI under bash) and to this one; what is not",
            "shown here has a test.",
            "",
            "| # | problem | the tutorials' image | this one | test |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Ask both images and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/reports/known-problems.md")
    parser.add_argument("--only", type=int, nargs="*", help="only print these")
    options = parser.parse_args()
    if missing := [problem.test for problem in PROBLEMS if not exists(problem.test)]:
        parser.error(f"no such tests: {', '.join(missing)}")
    engine = Engine(f"known-problems-{os.getpid()}")
    theirs, ours = Subject(engine, build(PEER)), Subject(engine, IMAGE)
    rows = []
    for problem in PROBLEMS:
        if options.only and problem.number not in options.only:
            continue
        answers = [problem.probe(subject) if problem.probe else "" for subject in (theirs, ours)]
        rows.append(row(problem, *answers))
        print(rows[-1], flush=True)
    if not options.only:
        options.out.write_text(report(rows, engine))


if __name__ == "__main__":
    main()
