"""The application of the benchmark: one view for each kind of answer.

It needs Flask only, and gives the same bytes under every server.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request, send_file

MEGABYTE = bytes(range(256)) * 4096
COMPUTED = 75_000
ROWS = [{"name": f"name {number}", "price": number / 4} for number in range(50)]
# Written by whoever runs the benchmark, as it would be too large for a repository.
FILE = Path(__file__).with_name("100-mb.bin")

app = Flask(__name__)

if os.environ.get("BENCH_HEAVY"):
    # Some 60 MB of Python objects, as an application has that imports large packages.
    heavy = {f"name {number}": (number, float(number)) for number in range(280_000)}


@app.route("/")
def hello() -> str:
    return "Hello, world!"


@app.route("/json")
def json() -> Response:
    return jsonify(rows=ROWS[:10], total=len(ROWS))


@app.route("/template")
def template() -> str:
    return render_template("table.html", rows=ROWS)


@app.route("/page")
def page() -> Response:
    """The same, and any cache may keep it for a minute."""
    response = Response(render_template("table.html", rows=ROWS))
    response.cache_control.public = True
    response.cache_control.max_age = 60
    return response


@app.route("/megabyte")
def megabyte() -> Response:
    return Response(MEGABYTE, mimetype="application/octet-stream")


@app.route("/post", methods=["POST"])
def post() -> str:
    return f"{len(request.get_data())} bytes"


@app.route("/compute")
def compute() -> str:
    """Some 5 ms of work, in the bytecode of Python."""
    return str(sum(number * number for number in range(COMPUTED)))


@app.route("/block")
def block() -> str:
    """Waits as for a database."""
    time.sleep(0.05)
    return "Hello, world!"


@app.route("/wait/<int:milliseconds>")
def wait(milliseconds: int) -> str:
    """Waits as for another service."""
    time.sleep(milliseconds / 1000)
    return "Hello, world!"


@app.route("/mixed")
def mixed() -> str:
    """Waits for 20 ms, and computes for 2 ms."""
    time.sleep(0.02)
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
    return "Hello, world!"


@app.route("/file")
def file() -> Response:
    return send_file(FILE)
