"""What benchmarks/known_problems.py asks of an image: one view for each trap."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator

from flask import Flask, Response, request, send_file

app = Flask(__name__)
LOADED_IN = os.getpid()
ticks = 0


def tick() -> None:
    """Count, in the background, for as long as the process lives."""
    global ticks
    while True:
        time.sleep(0.1)
        ticks += 1


threading.Thread(target=tick, daemon=True).start()


@app.get("/")
def hello() -> str:
    return "hello"


@app.post("/length")
def length() -> str:
    return str(len(request.get_data()))


@app.post("/denied")
def denied() -> tuple[str, int]:
    return "who are you?", 401


@app.get("/header")
def header() -> Response:
    return Response("ok", headers={"X-Long": "x" * request.args.get("n", 0, int)})


@app.get("/memory-file")
def memory_file() -> Response:
    return send_file(io.BytesIO(b"x" * 1000), mimetype="text/plain")


@app.get("/download")
def download() -> Response:
    block = b"x" * (1 << 20)
    count = request.args.get("mb", 1, int)
    return Response(
        (block for _ in range(count)),
        mimetype="application/octet-stream",  # text would be compressed
        headers={"Content-Length": str(count << 20)},
    )


@app.get("/events")
def events() -> Response:
    def four() -> Iterator[str]:
        for number in range(4):
            yield f"data: {number}\n\n"
            time.sleep(0.5)

    return Response(four(), mimetype="text/event-stream")


@app.get("/sleep")
def sleep() -> str:
    time.sleep(request.args.get("s", 1, float))
    return "awake"


@app.get("/scheme")
def scheme() -> str:
    return request.scheme


@app.get("/address")
def address() -> str:
    return request.remote_addr or ""


@app.get("/ticks")
def count() -> str:
    return str(ticks)


@app.get("/loaded")
def loaded() -> str:
    return "by each worker" if os.getpid() == LOADED_IN else "before the fork"


@app.get("/static-pages")
def static_pages() -> str:
    return "a page"
