"""The application of tests that need any application.

LOAD_SECONDS delays each import, and the number in /tmp/load_seconds the later ones.
"""

import os
import time

from flask import Flask, request

later = "/tmp/load_seconds"
seconds = open(later).read() if os.path.exists(later) else os.environ.get("LOAD_SECONDS")
if seconds:
    print("importing", flush=True)
    time.sleep(float(seconds))

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def hello():
    return os.environ.get("GREETING", "hello")


@app.get("/sleep")
def sleep():
    time.sleep(request.args.get("s", type=float))
    return "slept"


@app.get("/work")
def work():
    end = time.monotonic() + request.args.get("s", type=float)
    while time.monotonic() < end:
        pass
    return "tired"
