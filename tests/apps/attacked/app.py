"""Shows what it gets, answers in every wrong way, and brings everything that developers like."""

import os
import tempfile
from pathlib import Path

from flask import Flask, request
from werkzeug.debug import DebuggedApplication

REASON = "a reason for the log"
# One line for each request that got here: its query and its body's length.
SEEN = Path(tempfile.gettempdir()) / "seen"
EVIL = "X-Injected: 1"

app = Flask(__name__)
app.config |= {"TESTING": True, "PROPAGATE_EXCEPTIONS": True, "DEBUG": True}
app.debug = True

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]


@app.route("/echo", methods=METHODS)
@app.route("/echo/<where>")
def echo(where=""):
    """The environment as the application has it."""
    body = request.get_data()
    with SEEN.open("ab", 0) as file:
        file.write(f"{request.query_string.decode('latin-1')} {len(body)}\n".encode())
    return {
        "environ": {name: value for name, value in request.environ.items() if type(value) is str},
        "remote": request.remote_addr,
        "debug": [app.debug, app.config["DEBUG"]],
        "scheme": request.scheme,
        "host": request.host,
        "root": request.url_root,
        "body": body.decode("latin-1"),
    }


@app.get("/seen")
def seen():
    """The requests whose query starts with a text."""
    lines = SEEN.read_text().splitlines() if SEEN.exists() else []
    return [line for line in lines if line.startswith(request.args["of"])]


@app.get("/fail")
def fail():
    raise RuntimeError(REASON)


@app.get("/key")
def key():
    return request.args["no such key"]


def infinite():
    yield b"x" * 10
    raise RuntimeError(REASON)


class Unclosable(list):
    def close(self):
        raise RuntimeError(REASON)


TYPE = ("Content-Type", "text/plain")
# Wrong answers: status, headers, body.
ANSWERS = {
    **{
        f"status {status!r}": (status, [TYPE], [b"text"])
        for status in (
            f"200 OK\r\n{EVIL}",
            f"200 OK\n{EVIL}",
            f"200 OK\r{EVIL}",
            "200 OK\0",
            "200 OK\x7f",
            "",
            "OK",
            "2000 OK",
            "-200 OK",
            "000 None",
            "100 Continue",
            "103 Early Hints",
            "101 Switching Protocols",
            200,
            b"200 OK",
            None,
            "999 Own",
            "200 \u20ac",
        )
    },
    **{
        f"name {name!r}": ("200 OK", [TYPE, (name, "1")], [b"text"])
        for name in (
            f"X\r\n{EVIL}\r\nX",
            f"X\n{EVIL}\nX",
            "",
            "X Y",
            "X:",
            ":",
            "X\0",
            "\xfc",
            None,
            b"X",
            " X",
            "X ",
            "\tX",
            "X\r",
            "HTTP/1.1 200 OK\r\n\r\nX",
        )
    },
    **{
        f"value {value!r}": ("200 OK", [TYPE, ("X", value)], [b"text"])
        for value in (
            f"1\r\n{EVIL}",
            f"1\n{EVIL}",
            f"1\r{EVIL}",
            "1\0",
            "1\x0b",
            "\u20ac",
            None,
            1,
            b"1",
            "1\r\n\r\nHTTP/1.1 200 OK",
            "\x1b[31m",
            "1\r\n " + EVIL,
            "x" * 70_000,
        )
    },
    **{
        f"length {lengths!r}": (
            "200 OK",
            [TYPE, *(("Content-Length", length) for length in lengths)],
            [b"text"],
        )
        for lengths in (
            ["-1"],
            ["four"],
            ["4, 4"],
            ["4", "4"],
            ["4", "5"],
            ["+4"],
            ["0x4"],
            ["9" * 30],
            [""],
            ["2"],
            ["0"],
            ["400"],
            ["4 "],
        )
    },
    **{
        f"header {name} {value}": ("200 OK", [TYPE, (name, value)], [b"text"])
        for name, value in (
            ("Transfer-Encoding", "chunked"),
            ("Transfer-Encoding", "gzip, chunked"),
            ("Connection", "close"),
            ("Connection", "upgrade"),
            ("Upgrade", "h2c"),
            ("Keep-Alive", "timeout=1000"),
            ("Trailer", "X"),
            ("Status", "302 Found"),
            ("X-Accel-Redirect", "/etc/passwd"),
            ("X-Accel-Expires", "1000"),
            ("X-Sendfile", "/etc/passwd"),
            ("Server", "own"),
            ("Date", "never"),
        )
    },
    **{
        f"headers {headers!r}": ("200 OK", headers, [b"text"])
        for headers in (None, 5, "X: 1", ["X: 1"], [("X",)], [("X", "1", "2")], {"X": "1"})
    },
    **{
        f"body of {status}": (status, [TYPE, ("Content-Length", "4")], [b"text"])
        for status in ("204 No Content", "304 Not Modified", "205 Reset Content")
    },
    **{
        f"body {name}": ("200 OK", [TYPE], body)
        for name, body in (
            ("none", None),
            ("text", "text"),
            ("list of text", ["text"]),
            ("number", 5),
            ("mixed", [b"te", "xt"]),
            ("fails", infinite),
            ("bytes", b"text"),
            ("empty", []),
            ("empty bytes", [b"", b"text"]),
            ("cannot close", Unclosable([b"text"])),
            ("bytearray", [bytearray(b"text")]),
        )
    },
    "no start": (),
    "written": ("200 OK", [TYPE], "text", "200 OK"),
    "written, with a length": ("200 OK", [TYPE, ("Content-Length", "12")], "text", "200 OK"),
    "starts twice": ("200 OK", [TYPE], [b"text"], "404 Not Found"),
}
NAMES = sorted(ANSWERS)


def answer(name, start_response):
    """One of ANSWERS."""
    if not ANSWERS[name]:
        return [b"text"]
    status, headers, body, *more = ANSWERS[name]
    start_response(status, headers)
    for other in more:
        write = start_response(other, headers)
        if isinstance(body, str):
            write(b"written ")
            body = [body.encode()]
    return body() if callable(body) else body


@app.get("/answers")
def answers():
    return NAMES


def application(environ, start_response):
    if environ["PATH_INFO"] == "/answer":
        return answer(NAMES[int(environ["QUERY_STRING"])], start_response)
    return app(environ, start_response)


application = DebuggedApplication(application, evalex=True, pin_security=False)
os.environ["FLASK_DEBUG"] = "1"
app.run(debug=True, host="0.0.0.0", port=5001)
