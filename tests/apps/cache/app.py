"""Pages whose headers the request asks for: `h` is a header line of the answer."""

import os
import time
import uuid
from pathlib import Path

from flask import Flask, Response, request, session, url_for

app = Flask(__name__)
app.secret_key = "secret"  # pragma: allowlist secret - of a test
CALLS, BROKEN, VERSION = Path("/tmp/calls"), Path("/tmp/broken"), Path("/tmp/version")
# Of the code that this worker has loaded.
version = VERSION.read_text().strip() if VERSION.exists() else ""


def called():
    descriptor = os.open(CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(descriptor, request.full_path.encode() + b"\n")
    os.close(descriptor)


@app.route("/")
def index():
    return "ready"


@app.route("/page", methods=["GET", "POST"])
@app.route("/page/<name>", methods=["GET", "POST"])
def page(name=""):
    """Says who asked, and is another one at each call."""
    called()
    time.sleep(float(request.args.get("sleep", 0)))
    if BROKEN.exists():
        time.sleep(float(BROKEN.read_text() or 0))
        raise RuntimeError("broken")
    if request.method == "HEAD" and request.args.get("empty_head"):
        return "", {"Cache-Control": "public, max-age=60"}
    words = {
        "call": uuid.uuid4().hex,
        "version": version,
        "method": request.method,
        "url": url_for("page", _external=True),
        "filler": "x" * int(request.args.get("size", 0)),
    }
    response = app.json.response(words)
    response.status_code = int(request.args.get("status", 200))
    for line in request.args.getlist("h"):
        response.headers.add(*line.split(":", 1))
    if request.args.get("etag"):
        response.set_etag(request.args["etag"])
        response.make_conditional(request, accept_ranges=True, complete_length=response.content_length)
    return response


@app.route("/session")
def of_session():
    response = Response(f"{session.get('user', '')} {uuid.uuid4().hex}")
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


@app.route("/enter/<user>")
def enter(user):
    session["user"] = user
    response = Response("in")
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


@app.route("/cut")
def cut():
    """Ends in the middle of what it has promised."""
    called()

    def parts():
        yield b"x" * 1000
        os.kill(os.getpid(), 9)

    headers = {"Cache-Control": "public, max-age=60", "Content-Length": "2000"}
    return Response(parts(), headers=headers)


@app.route("/stream")
def stream():
    called()
    return Response(iter(["one", "two"]), headers={"Cache-Control": "public, max-age=60"})
