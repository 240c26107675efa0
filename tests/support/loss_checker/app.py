"""The application under load: well-behaved at `/`, and misbehaving wherever the path says so.

Every request with an id (`?id=`) is noted at its start and when the server has done
with its answer, with one write() to a file in RECORD_DIR that outlives this process:

    S <id> <pid> <monotonic ns>        E <id> <pid> <monotonic ns>

Needs Flask and nothing else of this package, so that the file can be mounted alone. `app` is a
Flask object and thereby a plain WSGI callable; `application` is the same.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from flask import Flask, Response, request
from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TRAILER = "end-of-answer\n"
QUERY_ID = re.compile(r"(?:^|&)id=([\w-]{1,64})(?:&|$)")

# A file beside this one says which version was loaded, so that a test can change it and reload.
_version_file = Path(__file__).with_name("version.txt")
VERSION = _version_file.read_text(encoding="utf-8").strip() if _version_file.exists() else "0"

# Opened once: O_APPEND makes each write() land whole behind those of all other workers.
_notes = os.open(
    Path(os.environ.get("RECORD_DIR", "/record"), "record.log"),
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC,
    0o666,
)
_leaked: list[bytes] = []

app = application = Flask(__name__)
route = partial(app.route, methods=["GET", "POST"])


def note(kind: str, ident: str) -> None:
    """Write one line of the record; raises if it did not go in whole."""
    line = f"{kind} {ident} {os.getpid()} {time.monotonic_ns()}\n".encode()
    if os.write(_notes, line) != len(line):
        raise OSError("the record is full: no loss can be proved")


def identify(environ: WSGIEnvironment) -> str:
    """The id of a request, "" if it has none."""
    found = QUERY_ID.search(environ.get("QUERY_STRING", ""))
    return found[1] if found else ""


def recorded(inner: WSGIApplication) -> WSGIApplication:
    """A WSGI callable that notes S before `inner` is called and E when its answer is closed."""

    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        ident = identify(environ)
        if not ident:
            return inner(environ, start_response)
        note("S", ident)
        return ClosingIterator(inner(environ, start_response), partial(note, "E", ident))

    return wsgi


app.wsgi_app = recorded(app.wsgi_app)  # type: ignore[assignment,method-assign]


def head() -> str:
    """The first lines of every answer. Reads the request's body to its end."""
    received = len(request.get_data(cache=False))
    return (
        f"id={identify(request.environ)}\npid={os.getpid()}\nversion={VERSION}\n"
        f"received={received}\n"
    )


def echo(middle: str = "") -> Response:
    """The usual answer; whoever misses its last line knows that it was cut short."""
    return Response(head() + middle + TRAILER, mimetype="text/plain")


@route("/")
def immediate() -> Response:
    return echo()


@route("/sleep")
def sleep() -> Response:
    time.sleep(request.args.get("s", 6.0, type=float))
    return echo()


@route("/work")
def work() -> Response:
    """Answers after s seconds of processor time."""
    end = time.thread_time() + request.args.get("s", 0.01, type=float)
    while time.thread_time() < end:
        pass
    return echo()


@route("/bytes")
def many_bytes() -> Response:
    return echo("x" * request.args.get("n", 0, type=int) + "\n")


@route("/sse")
def server_sent_events() -> Response:
    """An event every s seconds, for ever."""
    pause = request.args.get("s", 0.5, type=float)

    def events() -> Iterator[str]:
        while True:
            yield f"data: {time.monotonic_ns()}\n\n"
            time.sleep(pause)

    return Response(events(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


@route("/hang")
def hang() -> NoReturn:
    """Waits for ever, using nothing."""
    while True:
        time.sleep(3600)


@route("/loop")
def loop() -> NoReturn:
    """Computes for ever, in Python: other threads and signal handlers still get their turn."""
    while True:
        pass


@route("/gilloop")
def gil_loop() -> Response:
    """Computes for ever inside one C call: no other thread, no Python signal handler runs again."""
    return echo(str(sum(repeat(0))))


@route("/exit")
def leave() -> NoReturn:
    """Ends the process with a code, by os._exit() (how=os) or sys.exit() (how=sys)."""
    code = request.args.get("code", 0, type=int)
    if request.args.get("how", "os") == "sys":
        sys.exit(code)
    os._exit(code)


@route("/segfault")
def segfault() -> Response:
    ctypes.string_at(0)
    return echo()


@route("/leak")
def leak() -> Response:
    """Keeps another mb MiB for good; not zeros, which would cost no memory until written."""
    _leaked.append(b"x" * (request.args.get("mb", 1, type=int) << 20))
    return echo()


@route("/orphan")
def orphan() -> Response:
    """Leaves a process behind whose parent is gone and that ends after s seconds."""
    seconds = request.args.get("s", 2.0, type=float)
    subprocess.run(["sh", "-c", f"sleep {seconds} >/dev/null 2>&1 &"], check=True)
    return echo()
