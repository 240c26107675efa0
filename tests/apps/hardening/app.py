"""What benchmarks/hardening.py and slow clients attack.

DEBUGGER in the environment: how a debugger is left in it.
"""

import os

from flask import Flask, Response, request
from werkzeug.debug import DebuggedApplication

app = Flask(__name__)
left = os.environ.get("DEBUGGER")
if left == "app.debug":
    app.debug = True
elif left == "app.run":
    app.run(debug=True)
elif left == "DebuggedApplication":
    app.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=True)


@app.route("/", methods=["GET", "POST"])
def hello():
    request.get_data()
    return "hello"


@app.post("/upload")
def upload():
    return str(len(request.get_data()))


@app.route("/large", methods=["GET", "POST"])
def large():
    return Response(b"x" * 6_000_000, mimetype="application/octet-stream")


@app.get("/medium")
def medium():
    return Response(b"x" * 300_000, mimetype="application/octet-stream")


@app.get("/page")
def page():
    return Response(b"x" * 120_000, mimetype="application/octet-stream")


@app.get("/fail")
def fail():
    where = "in the traceback"
    raise RuntimeError(where)
