"""Everything that HTTP may ask of an application, and what applications ask of HTTP."""

import io
import os
import subprocess
import tempfile
import time

from flask import (
    Flask,
    Response,
    after_this_request,
    request,
    send_file,
    send_from_directory,
    url_for,
)

MB = 1 << 20
FILES = os.environ.get("FILES", "/app/files")

app = Flask(__name__)
app.config["USE_X_SENDFILE"] = "USE_X_SENDFILE" in os.environ


class Noted:
    """A body that says when the server has done with it."""

    def __init__(self, name, chunks):
        self.name = name
        self.chunks = chunks

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        print(f"closed {self.name}", flush=True)


@app.get("/")
def hello():
    return "hello\n"


# --- requests ------------------------------------------------------------------------------


@app.route("/headers", methods=["GET", "POST"])
def headers():
    return {
        "cookie": len(request.headers.get("Cookie", "")),
        "mine": sum(len(value) for name, value in request.headers if name.startswith("X-Test")),
        "query": len(request.query_string),
    }


@app.get("/bare")
def bare():
    wanted = ("CONTENT_TYPE", "CONTENT_LENGTH")
    given = {name: request.environ[name] for name in wanted if name in request.environ}
    return {"given": given, "url": url_for("bare", _external=True)}


@app.post("/length")
def length():
    return {"length": sum(map(len, iter(lambda: request.stream.read(65536), b"")))}


@app.route("/unread", methods=["POST", "PUT"])
def unread():
    return {"error": "not for you"}, 401


# --- responses -----------------------------------------------------------------------------


def slowly(form):
    for number in range(4):
        if number:
            time.sleep(0.5)
        yield form.format(number)


@app.get("/events")
def events():
    return Response(slowly("data: {}\n\n"), content_type="text/event-stream")


@app.get("/page")
def page():
    return Response(slowly("<p>{}</p>\n"), content_type="text/html")


@app.get("/endless/<name>")
def endless(name):
    def chunks():
        while True:
            yield b"x" * 65536
            time.sleep(0.01)

    return Response(Noted(name, chunks()), content_type="text/event-stream")


@app.get("/generated")
def generated():
    chunk = b"x" * MB
    count = request.args.get("mb", 1, int)
    response = Response((chunk for _ in range(count)), content_type="application/octet-stream")
    if "length" in request.args:
        response.content_length = count * MB
    return response


@app.get("/download")
def download():
    return Response(b"x" * (request.args.get("mb", 1, int) * MB), content_type="application/x-any")


@app.get("/response-headers")
def response_headers():
    kilobytes = request.args.get("kb", 1, int)
    return "ok", {f"X-Test-{number}": "x" * 1011 for number in range(kilobytes)}


@app.get("/one-response-header")
def one_response_header():
    return "ok", {"X-Test": "x" * request.args.get("bytes", 1, int)}


@app.get("/fails-at-once")
def fails_at_once():
    def made():
        raise ValueError("before the first byte")
        yield b"never"

    return Response(made(), headers={"Content-Length": "5"} if "length" in request.args else {})


@app.get("/passed-on")
def passed_on():
    """As of a view that asks another server, and answers with all that it got."""
    headers = {"Transfer-Encoding": "chunked", "Connection": "keep-alive", "Keep-Alive": "timeout=5"}
    body = b"from elsewhere"
    return Response(body if "length" in request.args else iter([body]), headers=headers)


@app.get("/not-latin")
def not_latin():
    return "ok", {"Content-Disposition": "attachment; filename=10\N{EURO SIGN}.pdf"}


@app.get("/json")
def small_json():
    return {"rows": []}


@app.get("/typed")
def typed():
    headers = {"Content-Encoding": "identity"} if "identity" in request.args else {}
    return Response(b"0123456789" * 1000, content_type=request.args["type"], headers=headers)


@app.get("/closing/<name>")
def closing(name):
    return Response(Noted(name, iter([b"a body"])), content_type="text/plain")


@app.get("/sleep")
def sleep():
    time.sleep(request.args.get("s", 1.0, float))
    return "slept\n"


# --- files ---------------------------------------------------------------------------------


@app.get("/files/<path:name>")
def files(name):
    return send_from_directory(FILES, name)


@app.get("/attachment/<path:name>")
def attachment(name):
    return send_from_directory(FILES, name, as_attachment=True, download_name="Zürich 100%")


@app.get("/cached/<path:name>")
def cached(name):
    response = send_file(os.path.join(FILES, name), max_age=600, etag="mine", last_modified=10**9)
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.vary.add("Cookie")
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


@app.get("/unconditional/<path:name>")
def unconditional(name):
    return send_file(os.path.join(FILES, name), conditional=False, etag=False)


@app.get("/opened/<path:name>")
def opened(name):
    file = open(os.path.join(FILES, name), "rb")
    file.seek(request.args.get("from", 0, int))
    return send_file(file, mimetype="text/plain")


@app.get("/bytesio")
def bytesio():
    return send_file(io.BytesIO(b"0123456789"), mimetype="text/plain")


@app.get("/pipe")
def pipe():
    process = subprocess.Popen(["printf", "0123456789"], stdout=subprocess.PIPE)
    return send_file(process.stdout, mimetype="text/plain")


@app.get("/removed/<how>")
def removed(how):
    """Files that are gone before the server gets to see them."""
    if how == "with":
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"0123456789")
            file.flush()
            return send_file(file.name, mimetype="text/plain")
    handle, path = tempfile.mkstemp()
    os.write(handle, b"0123456789")
    os.close(handle)

    @after_this_request
    def remove(response):
        os.remove(path)
        with open(path, "wb") as other:
            other.write(b"another file")
        return response

    return send_file(path, mimetype="text/plain")


@app.get("/forged")
def forged():
    """What an application that passes on the headers of others may come to send."""
    return "harmless\n", {"X-Accel-Redirect": request.args["to"]}


@app.get("/environment")
def environment():
    return {"names": sorted(os.environ)}
